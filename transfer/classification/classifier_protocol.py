"""Protocols of linear and semi-supervised classification: how a classifier is trained, by the name of a yaml file.

A yaml in classification_protocols/ says what differs from the defaults below and names its source. What depends on
the fraction of labels stands under ``fractions``. ``version`` rises when a protocol's numbers change; it goes into
every result.
"""

import argparse
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pretrain import backbones
from pretrain.config import BackboneConfig
from pretrain.data.view_recipes import INTERPOLATIONS
from runtime.command_line import Faults, Parser, UserError, one_of
from runtime.cores import AUTO_WORKERS
from runtime.read import read_yaml
from runtime.settings import (
    ABOVE_0,
    AT_LEAST_1,
    BELOW_1,
    NOT_NEGATIVE,
    SHARE_ABOVE_0,
    WORKERS,
    choice,
    describe,
    limit,
    parse_pairs,
    updated,
)
from transfer.backbones import USUAL, feature_kinds

FOLDER = Path(__file__).resolve().parent.parent / "classification_protocols"
INCIDENTAL = ("workers", "device")
"""Settings that may differ when a run resumes: they do not touch its result."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Defaults: what most sources share."""

    epochs: int = field(default=100, metadata=AT_LEAST_1)
    """Passes over the training images."""

    batch_size: int = field(default=256, metadata=limit("at least 2", 2))
    """Images per step over all processes."""

    optimizer: str = field(default="sgd", metadata=choice("sgd", "nesterov", "lars"))
    """sgd, nesterov, or lars (LARC without clipping: every tensor's step is trust times its norm)."""

    lr: float = field(default=0.1, metadata=ABOVE_0)
    """Learning rate of the classifier."""

    lr_backbone: float = field(default=0.0, metadata=NOT_NEGATIVE)
    """Learning rate of the backbone; 0 keeps it frozen, in eval mode, with its own batch statistics."""

    scale_lr: bool = False
    """Multiply both rates by batch_size / 256."""

    momentum: float = field(default=0.9, metadata=BELOW_1)
    """Of SGD and LARS."""

    weight_decay: float = field(default=0.0, metadata=NOT_NEGATIVE)
    """On every trained parameter."""

    trust: float = field(default=0.001, metadata=ABOVE_0)
    """LARS's trust coefficient."""

    exclude_1d: bool = False
    """Biases and norms take the plain step: no weight decay, no adaptation by LARS."""

    schedule: str = field(default="cosine", metadata=choice("cosine", "steps", "constant"))
    """Of the rates, epoch by epoch: cosine to 0, steps (times decay at each milestone) or constant."""

    warmup_epochs: int = field(default=0, metadata=NOT_NEGATIVE)
    """Epochs over which the rates rise from 0 before the cosine; above 0, both go step by step."""

    milestones: list[int] = field(default_factory=list, metadata=NOT_NEGATIVE)
    """Epochs at which the rates drop, for schedule=steps."""

    decay: float = field(default=0.1, metadata=NOT_NEGATIVE)
    """Factor of a drop."""

    batch_norm: bool = False
    """Batch norm without affine part between the features and the classifier."""

    size: int = field(default=224, metadata=AT_LEAST_1)
    """Side of the crops, pixels."""

    resize: int = field(default=256, metadata=AT_LEAST_1)
    """Short side of a validation image before its central crop, pixels."""

    min_scale: float = field(default=0.08, metadata=SHARE_ABOVE_0)
    """Smallest training crop, share of the image's area."""

    interpolation: str = field(default="bilinear", metadata=choice(*INTERPOLATIONS))
    """Of the crops, to train on and to test on: bilinear or bicubic."""

    precision: str = field(default="fp32", metadata=choice("fp32", "bf16", "auto"))
    """fp32, bf16 (autocast of the backbone; the classifier stays in float32), or auto: bf16 where the processor is
    fast in it."""

    evaluate_every: int = field(default=1, metadata=AT_LEAST_1)
    """Epochs between two looks at the validation images; the last epoch is always looked at."""

    features: str = field(default=USUAL, metadata=choice(*feature_kinds()))
    """What the classifier sees of an image: usual is pooled of ResNets and timm's networks, class-token of ViTs, which
    also have patches (their mean), class-token+patches and last-4-class-tokens."""

    network: str = backbones.USUAL
    """That of --weights random, by its name; a file names its own."""

    workers: int = field(default=AUTO_WORKERS, metadata=WORKERS)
    """Loader processes per rank; 0 loads in the training process, -1 takes the job's cores."""

    device: str = "auto"
    """auto, cpu or cuda."""


def available(kind: str) -> list[str]:
    """The names of the protocols of a kind, ``linear`` or ``semi``."""
    return sorted(path.stem for path in FOLDER.glob(f"{kind}-*.yaml"))


def load(name: str, pairs: list[str], *, fraction: int | None = None) -> tuple[Settings, dict]:
    """The settings of a protocol with KEY=VALUE ``pairs`` on top, and those that differ from the protocol's.

    Raises UserError for a yaml that is no protocol, for a fraction or key that is not known, and for a value of another
    type or outside its limits.
    """
    values = _read(name)
    values.pop("version")
    by_fraction = values.pop("fractions", {})
    if fraction is not None:
        by_text = {str(percent): group for percent, group in by_fraction.items()}
        values |= by_text[one_of(f"fraction of {name}", str(fraction), by_text)]
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
    path = FOLDER / f"{name}.yaml"
    values = read_yaml(path)
    if not isinstance(values, dict) or type(values.get("version")) is not int:
        raise UserError(f"{path} holds no protocol; expected settings, and a whole number as 'version'")
    fractions = values.get("fractions", {})
    if not isinstance(fractions, dict) or not all(isinstance(group, dict) for group in fractions.values()):
        raise UserError(f"{path}: fractions must be a group of settings for each percentage of labels")
    return values


def _check(settings: Settings) -> None:
    """Raise UserError for settings that do not go together."""
    faults = Faults()
    if settings.resize < settings.size:
        faults.append(f"resize={settings.resize} must not be below size={settings.size}: the crop lies inside")
    if settings.warmup_epochs and settings.schedule != "cosine":
        faults.append(f"warmup_epochs={settings.warmup_epochs} goes with schedule=cosine, got {settings.schedule}")
    if settings.warmup_epochs >= settings.epochs:
        faults.append(f"warmup_epochs={settings.warmup_epochs} must be below epochs={settings.epochs}")
    with faults.collected():
        backbones.check(BackboneConfig(name=settings.network), [settings.size])
    if settings.optimizer == "nesterov" and not settings.momentum:
        faults.append("optimizer=nesterov needs a momentum above 0; with momentum=0 give optimizer=sgd")
    faults.check()


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


def check(arguments: argparse.Namespace, kind: str, *, fraction: int | None = None) -> None:
    """Raise UserError naming every fault of a command line that can be known without torch and the data."""
    faults = Faults()
    with faults.collected():
        check_seed(arguments.seed)
    with faults.collected():
        one_of("protocol", arguments.protocol, available(kind))
        settings, _ = load(arguments.protocol, arguments.settings, fraction=fraction)
        if kind == "linear" and settings.lr_backbone:
            raise UserError("linear classification keeps the backbone frozen; for lr_backbone see transfer/semi.py")
        if kind == "semi" and not settings.lr_backbone:
            raise UserError("semi-supervised fine-tuning moves the backbone; with lr_backbone=0 see transfer/linear.py")
    faults.check()


def check_seed(seed: int) -> None:
    """Raise UserError for a seed that torch does not take."""
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed must lie in 0 .. {2**31 - 1}, got {seed}")
