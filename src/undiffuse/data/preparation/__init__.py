"""From what the user named to an array in the cache."""
