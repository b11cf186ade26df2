"""``undiffuse edit ...``: one module a command."""
