"""How good images are: figures with floors, counts and caveats."""
