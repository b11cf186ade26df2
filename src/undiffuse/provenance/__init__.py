"""The making of a file, kept inside it."""
