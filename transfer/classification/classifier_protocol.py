"""Protocols of classification (linear, with few labels, fine-tuned): how one is trained, by the name of a yaml file.

A yaml in classification_protocols/ says what differs from the defaults below and names its source. What depends on
the fraction of labels stands under ``fractions``. ``version`` rises when a protocol's numbers change; it goes into
every result.
"""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pretrain import backbones
from pretrain.config import BackboneConfig
from runtime.command_line import Faults, Parser, UserError, one_of
from runtime.read import read_yaml
from runtime.settings import describe, parse_pairs, updated
from transfer.backbones import RANDOM
from transfer.classification.settings import INCIDENTAL, FineTuneSettings, Settings, TrainingSettings

FOLDER = Path(__file__).resolve().parent.parent / "classification_protocols"
SETTINGS: dict[str, type[TrainingSettings]] = {"linear": Settings, "semi": Settings, "finetune": FineTuneSettings}
"""Kinds of protocols, which their names begin with, and what they set."""


def available(kind: str) -> list[str]:
    """The names of the protocols of a kind."""
    return sorted(path.stem for path in FOLDER.glob(f"{kind}-*.yaml"))


def load(name: str, pairs: list[str], *, fraction: int | None = None) -> tuple[Any, dict]:
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
    published = updated(SETTINGS[name.partition("-")[0]](), values, name)
    settings = updated(published, parse_pairs(pairs), "the command line")
    Faults(settings.faults()).check()
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


def parser_of(kind: str, description: str) -> Parser:
    """The options that all kinds share; settings are listed with their sentences."""
    ends = f"protocols: {', '.join(available(kind))}\n\n"
    ends += f"settings (KEY=VALUE) and what a protocol that does not name them has:\n{describe(SETTINGS[kind]())}"
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
        backbones.family_of(settings.network)  # known, though a file may be used
        if RANDOM in arguments.weights.split(","):
            backbones.check(BackboneConfig(name=settings.network), [settings.size])
            faults += settings.faults_of_untrained()
        if kind == "linear" and settings.lr_backbone:
            raise UserError("linear classification keeps the backbone frozen; for lr_backbone see transfer/semi.py")
        if kind == "semi" and not settings.lr_backbone:
            raise UserError("semi-supervised fine-tuning moves the backbone; with lr_backbone=0 see transfer/linear.py")
    faults.check()


def check_seed(seed: int) -> None:
    """Raise UserError for a seed that torch does not take."""
    if not 0 <= seed < 2**31:
        raise UserError(f"--seed must lie in 0 .. {2**31 - 1}, got {seed}")
