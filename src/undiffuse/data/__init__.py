"""From files to batches: what the data are is found out once, kept with them, and never changed behind the user's back.

Reading order: `source` (what the user named), `folder`, `archive`, `arrays`, `idx`, `builtin` (how each is read),
`listing` (which files are images, and of which class), `decode` and `transform` (file -> array), `prepare` (all of
it, once, into a memory-mapped array in the cache), `values` (array <-> model space), `order` (which samples make
batch k), `report`.
"""
