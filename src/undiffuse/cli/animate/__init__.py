"""``undiffuse animate ...``: one module a command."""
