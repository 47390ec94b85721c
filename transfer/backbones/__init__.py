"""Pretrained backbones as the probes and the analysis use them; this file loads no torch."""

from pretrain import backbones
from runtime.command_line import one_of

RANDOM = "random"
"""``--weights random``: the untrained network of a seed."""

LAYERS = ("backbone", "projector")
"""What of a pretrained network can be looked at."""

USUAL = "usual"
"""``--features usual``: those that the family's papers evaluate."""


def feature_kinds() -> list[str]:
    """What ``--features`` can be: of every family, the usual ones first."""
    kinds = [kind for family in backbones.families().values() for kind in family.FEATURES]
    return [USUAL, *dict.fromkeys(kinds)]


def check_features(kind: str) -> str:
    """``kind``, or a UserError that lists what it can be."""
    return one_of("features", kind, feature_kinds())


def with_features(protocol: str, features: str) -> str:
    """The name of a protocol on these features: as it is on the usual ones, else ``knn-20-patches``."""
    return protocol if features == USUAL else f"{protocol}-{features}"
