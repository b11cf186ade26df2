"""One module a format of data."""
