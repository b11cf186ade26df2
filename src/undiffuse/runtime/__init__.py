"""The machine below everything: devices, threads, processes, random streams, files that are whole."""
