"""One training on several processes or threads."""
