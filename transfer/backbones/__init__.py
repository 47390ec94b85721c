"""Pretrained backbones as the probes and the analysis use them; this file loads no torch."""

RANDOM = "random"
"""``--weights random``: the untrained network of a seed."""

LAYERS = ("backbone", "projector")
"""What of a pretrained network can be looked at."""
