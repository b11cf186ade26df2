"""Samplers side by side, and the best times for few steps."""
