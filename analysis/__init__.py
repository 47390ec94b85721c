"""From result files to tables, and from backbones to what their representations look like."""
