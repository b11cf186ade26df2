"""What looks on while a training runs: checkpoints, previews, logs, the progress line."""
