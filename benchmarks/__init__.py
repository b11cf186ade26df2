"""Measurements of undiffuse and of what it is compared with; README.md says how to run them."""
