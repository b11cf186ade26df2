"""Sentences as sequences of vectors that a network can be told."""
