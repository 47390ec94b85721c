"""The papers' numbers: published.csv, one number a line, each with the table it was read in and what is to be known.

The last cell of a line is the network, and may be left out with its comma for ResNet-50.

A number enters with the protocol it was obtained under, which is not always the one of the paper that prints it. What
was read in a transcript of a paper only says so in its caveat; what nobody read is not there.
"""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretrain import backbones
from pretrain.methods import available
from runtime.command_line import UserError, one_of
from runtime.read import read_text

FILE = Path(__file__).resolve().parent.parent / "published.csv"

TASKS = ("bbox", "segm", "keypoints", "classification", "language")

BENCHMARKS = ("coco_2017", "gsm8k", "imagenet", "lvis_v1", "math", "voc_2007", "voc_2007_2012")

FOREIGN_METHODS = {"random": "random init", "dino": "DINO", "moby": "MoBY", "moco_v1": "MoCo v1", "moco_v3": "MoCo v3"}
"""Rows that are no method of this suite, and how they are written. A language model is written as it stands."""

FOREIGN_PROTOCOLS = {
    "language-model": "fine-tuning of a language model, percent of problems solved",
    "trained-with-labels": "the network trained on all labels, no probe",
    "linear-byol": "SGD with Nesterov momentum, 80 epochs, learning rate chosen on a part of train",
    "linear-lightly": "SGD at 0.1 x batch / 256, batch 256, 90 epochs",
    "linear-mmselfsup": "the model zoo's own, method by method",
    "linear-swav": "SGD at 0.3, batch 256, 100 epochs, cosine, weight decay 1e-6",
    "linear-unstated": "not stated",
    "linear-vissl": "the model zoo's own",
    "knn-20-vicreg": "20 neighbours, weights not stated",
    "knn-200-vicreg": "200 neighbours, weights not stated",
    "knn-20": "20 neighbours, T = 0.07",
    "knn-200-T0.1": "200 neighbours, T = 0.1",
    "semi-byol": "learning rate and epochs by search",
    "semi-from-scratch": "trained on the fraction alone",
    "semi-simclr-v2": "from the middle of the projector, LARS",
    "voc07-9k": "as voc-24k on VOC 2007 alone, 9k iterations",
    **{f"vitdet-{size}-cascade": "ViTDet with boxes in three stages, the same for all classes" for size in "blh"},
    **{f"vitdet-{size}-lvis": "ViTDet's recipe for LVIS, federated loss" for size in "blh"},
    **{f"vitdet-{size}-cascade-lvis": "ViTDet's recipe for LVIS, boxes in three stages" for size in "blh"},
    **{f"lsj-fpn-{n}ep": f"R50-FPN from scratch, large-scale jitter, {n} epochs" for n in (100, 200, 400)},
}
"""Protocols that the suite does not run; ``semi-`` ones carry their fraction as ``-1pct`` or ``-10pct``."""

QUOTABLE = ("gsm8k", "math", "imagenet", "coco_2017", "voc_2007", "voc_2007_2012")
"""Benchmarks whose tables show published numbers beside measured ones."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One number of a paper."""

    method: str
    variant: str
    """How it differs from the method's main row, ``gamma=0.3`` or ``batch 256``; empty if it does not."""
    epochs: int
    """Passes over the pretraining data; 0 where there are none, or where they are not known."""
    benchmark: str
    protocol: str
    task: str
    metric: str
    value: float
    """Percent."""
    std: float | None
    """Over ``n`` runs; None where it was not published."""
    n: int | None
    """Runs averaged; None where it was not published, which mostly means one."""
    source: str
    """The table, or the README, in which it was read."""
    caveat: str
    backbone: str = backbones.USUAL
    """The network, by the suite's name."""


def load(path: str | Path = FILE, *, protocols: Iterable[str] = ()) -> list[Published]:
    """Read and validate a file of published numbers.

    Args:
        protocols: the names to accept besides ``FOREIGN_PROTOCOLS``; none accepts all.

    Raises UserError that names the line for an unknown method, benchmark, task or protocol, for a value that is no
    percentage, for a missing source, and for a number that stands there twice.
    """
    protocols, found, seen = set(protocols), [], {}
    lines = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        if set(lines.fieldnames or ()) != set(Published.__dataclass_fields__):
            raise ValueError(f"the head is not {','.join(Published.__dataclass_fields__)}")
        for line in lines:
            entry = _entry(line, protocols)
            first = seen.setdefault(_place(entry), lines.line_num)
            if first != lines.line_num:
                raise ValueError(f"repeats line {first} ({entry.source}); keep one of them")
            found.append(entry)
    except (csv.Error, ValueError) as error:
        raise UserError(f"{path} line {lines.line_num}: {error}") from error
    return found


def _entry(line: dict[str, Any], protocols: set[str]) -> Published:
    line["backbone"] = line["backbone"] or backbones.USUAL
    if None in line or None in line.values():
        raise ValueError("more cells than the head has, or fewer")
    backbones.family_of(line["backbone"])
    known = [*available(), *FOREIGN_METHODS]
    if line["task"] != "language":
        one_of("method", line["method"], known)
    one_of("task", line["task"], TASKS)
    one_of("benchmark", line["benchmark"], BENCHMARKS)
    if protocols and _protocol(line["protocol"]) not in protocols:
        one_of("protocol", _protocol(line["protocol"]), {*protocols, *FOREIGN_PROTOCOLS})
    value, std = float(line["value"]), float(line["std"]) if line["std"] else None
    if not (math.isfinite(value) and 0 <= value <= 100):
        raise ValueError(f"value {line['value']} is no percentage")
    if not line["source"]:
        raise ValueError("a number without a source is not a published one")
    if std is not None and not line["n"]:
        raise ValueError("a standard deviation needs the number of runs")
    numbers = {"epochs": int(line["epochs"]), "value": value, "std": std, "n": int(line["n"]) if line["n"] else None}
    return Published(**{**line, **numbers})


def _protocol(name: str) -> str:
    """A protocol's name without its fraction of labels."""
    return name.removesuffix("-1pct").removesuffix("-10pct") if name.startswith("semi-") else name


def _place(entry: Published) -> tuple:
    where = (entry.backbone, entry.benchmark, entry.protocol, entry.task, entry.metric)
    return (entry.method, entry.variant, entry.epochs, *where, entry.source)
