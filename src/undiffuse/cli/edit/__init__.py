"""``undiffuse edit ...``: ten commands out of the table of edits."""
