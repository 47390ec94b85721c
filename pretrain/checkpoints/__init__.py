"""Checkpoints of a run: what is in one, and which of them stay."""
