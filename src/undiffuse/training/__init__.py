"""Training: a loop that yields, a run folder that survives, observers that look on."""
