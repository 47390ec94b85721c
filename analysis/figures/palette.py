"""The look of a run in every chart: a colour per backbone, a dash per seed; a colour and a shape per class."""

from collections.abc import Iterable
from typing import NamedTuple

LIGHT = ("#0072b2", "#c46a00", "#00805f", "#b0508a", "#3a93c4", "#c24a00", "#7a6d00", "#6f6f6f", "#332288", "#000000")
"""Okabe and Ito's colours (2008), which colour-blind readers can tell apart, darkened to 3:1 on white; black last."""

DARK = ("#4aa8e0", "#e69f00", "#22b78c", "#dd8fbd", "#8fd0f2", "#f07b3f", "#cfc04a", "#a8a8a8", "#a99bff", "#ffffff")
"""The same on a dark ground."""

DASHES = ((1, 0), (6, 3), (2, 3), (8, 3, 2, 3), (1, 2))

SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-left", "triangle-right")
SIGNS = ("●", "■", "▲", "◆", "▼", "✚", "◀", "▶")
"""The shapes as text."""


class Look(NamedTuple):
    """Numbers of a colour and of a dash."""

    colour: int = 0
    dash: int = 0

    @property
    def colour_index(self) -> int:
        return self.colour % len(LIGHT)

    @property
    def pattern(self) -> tuple[int, ...]:
        """Where the colours begin again, the next dash begins with them."""
        return DASHES[(self.dash + self.colour // len(LIGHT)) % len(DASHES)]

    @property
    def shape(self) -> str:
        return SHAPES[self.colour % len(SHAPES)]

    @property
    def sign(self) -> str:
        return SIGNS[self.colour % len(SHAPES)]


class Looks:
    """The looks of runs by their folders' names, ``matrix_ssl-demo-seed0``; other names come after them."""

    def __init__(self, names: Iterable[str]):
        self.colours: dict[str, int] = {}
        self.dashes: dict[str, int] = {}
        self.seeds: dict[str, int] = {}
        for name in names:
            self.look(name)

    def look(self, name: str) -> Look:
        backbone, _ = split_seed(name)
        colour = self.colours.setdefault(backbone, len(self.colours))
        if name not in self.dashes:
            self.dashes[name] = self.seeds.get(backbone, 0)
            self.seeds[backbone] = self.dashes[name] + 1
        return Look(colour, self.dashes[name])


def split_seed(name: str) -> tuple[str, str]:
    """``byol-demo-seed1`` -> ``byol-demo`` and ``1``; a name without a seed is a backbone of its own."""
    backbone, _, seed = name.rpartition("-seed")
    return (backbone, seed) if backbone else (name, "")
