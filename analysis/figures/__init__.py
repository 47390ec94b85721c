"""Pictures of representations with matplotlib, one look for all."""
