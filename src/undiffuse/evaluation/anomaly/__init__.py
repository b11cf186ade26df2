"""Which images a model finds strange, and where."""
