"""Work that takes a while, and the queue that it waits in."""
