"""From any published checkpoint to the one trunk in it, read without running code, and proven equal."""
