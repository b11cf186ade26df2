"""A run: its folder, its checks, how it starts, stops and goes on."""
