"""From files to batches: what the data are is found out once, kept with them, and never changed behind the user's back.

Reading order: `source` (what a format brings), `preparation.open_source` (what the user named), `formats` (one file
each, told apart by `formats.registry`), `files.listing` (which files are images, and of which class), `files.decode`
and `transform` (file -> array), `writing` (arrays into the cache), `preparation.prepare` (all of it, once), `codec`
(array <-> model space), `order` (which samples make batch k).
"""
