"""Kinds of samples, one file each: what they are called, how they are looked at, read and written."""
