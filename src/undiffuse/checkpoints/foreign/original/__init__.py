"""Checkpoints as the authors of papers published them: files of tensors under their code's names, without settings."""
