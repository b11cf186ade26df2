"""Scores of images that a model finds strange, and pictures of where."""
