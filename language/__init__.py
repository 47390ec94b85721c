"""Fine-tuning a causal language model with matrix cross-entropy (arXiv 2305.17326, section 7)."""
