"""From files to batches: what the data are is found out once, kept with them, and never changed behind the user's back.

Reading order: `preparation.open_source` (what the user named), `files.folder`, `files.archive`, `formats` (how each is
read), `files.listing` (which files are images, and of which class), `files.decode` and `transform` (file -> array),
`preparation.prepare` (all of it, once, into a memory-mapped array in the cache), `scaling` (array <-> model space),
`order` (which samples make batch k), `report`.
"""
