"""One fine-tuning run of a detector: protocol, settings, trainer, the proof of what it loaded."""
