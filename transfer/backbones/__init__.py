"""Pretrained backbones as the probes and the analysis use them; this file loads no torch."""

import argparse

from pretrain import backbones
from pretrain.config import BackboneConfig
from runtime.command_line import Faults, one_of

RANDOM = "random"
"""``--weights random``: the untrained network of a seed."""

LAYERS = ("backbone", "projector", "embeddings")
"""What of a pretrained network can be looked at. ``embeddings`` is what losses compare: behind the projector; of a
masked auto-encoder, which has none, the class token."""

USUAL = "usual"
"""``--features usual``: those that the family's papers evaluate."""


def feature_kinds() -> list[str]:
    """What ``--features`` can be: of every family, the usual ones first."""
    kinds = [kind for family in backbones.families().values() for kind in family.FEATURES]
    return [USUAL, *dict.fromkeys(kinds)]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser ``--features`` and ``--network``, which `check_options` checks."""
    parser.add_argument(
        "--features",
        default=USUAL,
        metavar="F",
        help=f"{', '.join(feature_kinds())} (default: pooled, of a ViT class-token); others are in the protocol's name",
    )
    parser.add_argument(
        "--network", default=backbones.USUAL, metavar="NAME", help="network of --weights random (default %(default)s)"
    )


def check_options(arguments: argparse.Namespace, *, side: int) -> None:
    """Raise UserError naming what those two cannot be, for images of ``side`` pixels."""
    faults = Faults()
    with faults.collected():
        one_of("features", arguments.features, feature_kinds())
    with faults.collected():
        backbones.check(BackboneConfig(name=arguments.network), [side])
    faults.check()


def with_features(protocol: str, features: str) -> str:
    """The name of a protocol on these features: as it is on the usual ones, else ``knn-20-patches``."""
    return protocol if features == USUAL else f"{protocol}-{features}"
