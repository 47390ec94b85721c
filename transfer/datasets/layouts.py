"""The layouts of data sets that are not COCO's, and how each becomes a COCO object."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transfer.datasets import cityscapes, lvis, voc


@dataclass(frozen=True)
class Layout:
    """One way to keep labels."""

    read: Callable[[list[Path]], dict]
    """The COCO object of the labels in these files or folders."""
    sources: Callable[[list[Path]], list[Path]]
    """Every file it reads, by which a change is noticed."""
    metric: str
    """The metric of the data set's papers, one of ``transfer.metrics.TASKS``."""


LAYOUTS = {
    "voc": Layout(voc.read, voc.sources, "voc-2007"),
    "cityscapes": Layout(cityscapes.read, cityscapes.instance_files, "cityscapes"),
    "lvis": Layout(lvis.read, list, "lvis"),
}
