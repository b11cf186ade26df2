"""``undiffuse cascade ...``: one module a command."""
