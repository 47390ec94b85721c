"""One look per row for every chart of the page: a colour per backbone, a dash per seed."""

from collections.abc import Iterable
from typing import NamedTuple

from analysis.results_table.measurements import unique


class Look(NamedTuple):
    """Numbers of a colour and of a dash; the chart knows what they look like."""

    colour: int
    dash: int


class Palette:
    """The looks of rows by their folders' names, ``matrix_ssl-demo-seed0``; names that are no rows come after them."""

    def __init__(self, names: Iterable[str]):
        self.names = unique(list(names))

    def look(self, name: str) -> Look:
        if name not in self.names:
            self.names.append(name)
        backbones = unique([backbone(other) for other in self.names])
        seeds = [other for other in self.names if backbone(other) == backbone(name)]
        return Look(backbones.index(backbone(name)), seeds.index(name))


def backbone(name: str) -> str:
    """The name of a row without its seed."""
    return name.rpartition("-seed")[0] or name
