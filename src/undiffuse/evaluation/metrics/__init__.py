"""Distances between sets of features: pure functions of tensors, in float64, that know nothing of models or files.

`Moments` are what a Frechet distance needs of a set; the other metrics look at the features themselves.
"""
