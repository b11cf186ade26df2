"""The studio: a local page and the HTTP interface behind it.

Every action of the page is a documented call (`app`), and everything it does is a function of the layers below. What
is here is what a server adds: one network for many requests (`jobs.batched_network`), jobs that can be watched and
cancelled (`jobs.queue`), pictures that are kept (`library.gallery`), and closed doors (`guard`).
"""
