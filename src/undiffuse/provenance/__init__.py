"""How a file was made, kept inside it."""
