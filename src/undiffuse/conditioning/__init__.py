"""Conditions of a model: classes, texts, vectors, images."""
