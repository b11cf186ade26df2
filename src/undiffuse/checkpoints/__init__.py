"""Weights on disk, ours and other people's, and how a name leads to them."""
