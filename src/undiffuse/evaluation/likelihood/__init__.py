"""The cost of images in bits under a model."""
