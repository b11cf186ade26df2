"""What the studio keeps: models, pictures, uploaded data."""
