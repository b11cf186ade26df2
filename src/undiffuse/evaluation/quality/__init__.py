"""The quality of images: figures with floors, counts and caveats."""
