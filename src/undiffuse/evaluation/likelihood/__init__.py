"""What images cost in bits under a model."""
