"""Networks that turn images into the features that distances are measured in, and what identifies them."""
