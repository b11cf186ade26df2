"""The search for samples that are copies of training images."""
