"""Samples into the array of a prepared folder: do they agree, what becomes of them, what is refused."""
