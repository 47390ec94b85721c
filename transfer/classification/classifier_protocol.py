"""Protocols of the classification probes: how a classifier is trained on a backbone, known by a yaml's file name.

A yaml in classification_protocols/ says what differs from the defaults below and names its source. What depends on
the fraction of labels stands under ``fractions``. ``version`` rises when a protocol's numbers change; it goes into
every result.
"""

import argparse
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runtime.command_line import Parser, UserError, one_of
from runtime.read import read_yaml
from runtime.settings import describe, parse_pairs, updated

FOLDER = Path(__file__).resolve().parent.parent / "classification_protocols"
INCIDENTAL = ("workers", "device")
"""Settings that may differ when a run resumes: they do not touch its result."""
CHOICES = {
    "optimizer": ("sgd", "nesterov", "lars"),
    "schedule": ("cosine", "steps", "constant"),
    "precision": ("fp32", "bf16"),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Defaults: what most sources share."""

    epochs: int = 100
    """Passes over the training images."""

    batch_size: int = 256
    """Images per step over all processes."""

    optimizer: str = "sgd"
    """sgd, nesterov, or lars (LARC without clipping: every tensor's step is trust times its norm)."""

    lr: float = 0.1
    """Learning rate of the classifier."""

    lr_backbone: float = 0.0
    """Learning rate of the backbone; 0 keeps it frozen, in eval mode, with its own batch statistics."""

    scale_lr: bool = False
    """Multiply both rates by batch_size / 256."""

    momentum: float = 0.9
    """Of SGD and LARS."""

    weight_decay: float = 0.0
    """On every trained parameter."""

    trust: float = 0.001
    """LARS's trust coefficient."""

    schedule: str = "cosine"
    """Of the rates, epoch by epoch: cosine to 0, steps (times decay at each milestone) or constant."""

    milestones: list[int] = field(default_factory=list)
    """Epochs at which the rates drop, for schedule=steps."""

    decay: float = 0.1
    """Factor of a drop."""

    batch_norm: bool = False
    """Batch norm without affine part between the features and the classifier."""

    size: int = 224
    """Side of the crops, pixels."""

    resize: int = 256
    """Short side of a validation image before its central crop, pixels."""

    min_scale: float = 0.08
    """Smallest training crop, share of the image's area."""

    precision: str = "fp32"
    """fp32, or bf16 (autocast of the backbone; the classifier stays in float32)."""

    evaluate_every: int = 1
    """Epochs between two looks at the validation images; the last epoch is always looked at."""

    workers: int = 4
    """Loader processes per rank; 0 loads in the training process."""

    device: str = "auto"
    """auto, cpu or cuda."""


def available(kind: str) -> list[str]:
    """The names of the protocols of a kind, ``linear`` or ``semi``."""
    return sorted(path.stem for path in FOLDER.glob(f"{kind}-*.yaml"))


def load(name: str, pairs: list[str], *, fraction: int | None = None) -> tuple[Settings, dict]:
    """The settings of a protocol with KEY=VALUE ``pairs`` on top, and those that differ from the protocol's.

    Raises UserError for a fraction or key that is not known and for a value of another type.
    """
    values = _read(name)
    values.pop("version")
    by_fraction = values.pop("fractions", {})
    if fraction is not None:
        one_of(f"fraction of {name}", str(fraction), map(str, by_fraction))
        values |= by_fraction[fraction]
    published = updated(Settings(), values, name)
    settings = updated(published, parse_pairs(pairs), "the command line")
    _check(settings)
    before = asdict(published)
    changed = {k: v for k, v in asdict(settings).items() if v != before[k] and k not in INCIDENTAL}
    return settings, changed


def version(name: str) -> int:
    """The version of a protocol."""
    return _read(name)["version"]


def _read(name: str) -> dict:
    return read_yaml(FOLDER / f"{name}.yaml")


def _check(settings: Settings) -> None:
    for key, choices in CHOICES.items():
        one_of(key, getattr(settings, key), choices)
    for key in ("epochs", "batch_size", "size", "resize", "evaluate_every"):
        if getattr(settings, key) < 1:
            raise UserError(f"{key} must be at least 1, got {getattr(settings, key)}")
    if not (settings.lr > 0 and settings.lr_backbone >= 0 and 0 < settings.min_scale <= 1 and settings.workers >= 0):
        raise UserError("lr must be above 0, lr_backbone and workers not below, min_scale in (0, 1]")
    if settings.resize < settings.size:
        raise UserError(f"resize={settings.resize} must not be below size={settings.size}: the crop lies inside")


def parser_of(kind: str, description: str) -> Parser:
    """The options that linear and semi-supervised classification share; settings are listed with their sentences."""
    ends = f"protocols: {', '.join(available(kind))}\n\n"
    ends += f"settings (KEY=VALUE) and what a protocol that does not name them has:\n{describe(Settings())}"
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, epilog=ends)
    parser.add_argument("--protocol", required=True, metavar="P", help="one of those listed below")
    parser.add_argument("--weights", required=True, metavar="W", help="a backbone.pth, or random")
    parser.add_argument("--benchmark", required=True, metavar="B", help="scenes, cifar10, cifar100, or any name")
    parser.add_argument("--data", metavar="DIR", help="the images (default for scenes: runs/data/scenes)")
    parser.add_argument("--out", required=True, metavar="OUT", help="folder of this run alone")
    parser.add_argument("--seed", type=int, default=0, help="of the classifier, image order, crops, untrained net (0)")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings that differ from the protocol's")
    return parser


def check_seed(seed: int) -> None:
    """Raise UserError for a seed that torch does not take."""
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed must lie in 0 .. {2**31 - 1}, got {seed}")
