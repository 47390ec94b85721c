"""Optimisers and schedules of learning rate and momentum."""
