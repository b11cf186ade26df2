"""Dots for undiffuse."""
