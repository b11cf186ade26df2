"""What a model is asked for: classes, texts, vectors, images."""
