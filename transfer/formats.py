"""The checkpoint formats the converter knows, one entry each: where the trunk is, and what is left behind and why.

To add a format, add a ``Format``. The first whose ``recognises`` holds is taken, so the specific ones come first.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from pretrain.command_line import UserError

COUNTER = ("BatchNorm's step counter, which inference never reads", r"\.num_batches_tracked$")
CLASSIFIER = ("classifier", r"^fc\.")


@dataclass(frozen=True, kw_only=True)
class Format:
    """One way of storing a ResNet trunk with torchvision's names."""

    name: str
    recognises: Callable[[dict], bool]
    """Whether a loaded file has this format."""
    tensors: Callable[[dict], dict]
    """The file's name -> tensor dictionary."""
    prefix: str = ""
    """What stands before the trunk's torchvision names."""
    dropped: tuple[tuple[str, str], ...] = ()
    """(reason, regular expression) of the names left behind, besides the step counters."""
    about: Callable[[dict], dict] = field(default=lambda checkpoint: {})
    """What the file tells of its origin, with the keys of ``ORIGIN``."""


ORIGIN = {"method": "", "recipe": "", "epochs": 0, "seed": 0, "commit": ""}
"""What is known of weights whose file tells nothing."""

TORCHVISION_INPUT = {"order": "RGB", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def _of_suite(kind: str) -> Callable[[dict], bool]:
    return lambda checkpoint: str(checkpoint.get("format", "")).startswith(f"ssl-transfer-bench/{kind}/")


def _about_suite(checkpoint: dict) -> dict:
    return {key: checkpoint[key] for key in (*ORIGIN, "input") if key in checkpoint}


def _is_bare_state_dict(checkpoint: dict) -> bool:
    return "conv1.weight" in checkpoint and "layer1.0.conv1.weight" in checkpoint


FORMATS = [
    Format(
        name="this suite's backbone",
        recognises=_of_suite("backbone"),
        tensors=lambda checkpoint: checkpoint["state_dict"],
        about=_about_suite,
    ),
    Format(
        name="this suite's training checkpoint",
        recognises=_of_suite("checkpoint"),
        tensors=lambda checkpoint: checkpoint["model"],
        prefix="backbone.",
        dropped=(
            ("teacher: a moving average; the online trunk is the one that is evaluated", r"^teacher\."),
            ("projector, predictor or other state of the method, used only in pretraining", r"^(?!backbone\.)"),
        ),
        about=_about_suite,
    ),
    Format(
        name="torchvision state dict",
        recognises=_is_bare_state_dict,
        tensors=lambda checkpoint: checkpoint,
        dropped=(CLASSIFIER,),
        about=lambda checkpoint: {"method": "supervised"},
    ),
]


@dataclass(frozen=True)
class Trunk:
    """A trunk found in a file."""

    format: str
    tensors: dict
    """Source name -> tensor."""
    names: dict[str, str]
    """Source name -> torchvision name."""
    dropped: dict[str, str]
    """Source name -> why it was left behind."""
    about: dict
    """``ORIGIN``'s keys and ``input``."""


def find_trunk(checkpoint: dict, path) -> Trunk:
    """Recognise the format of a loaded ``checkpoint`` and split its tensors into kept and dropped.

    Raises UserError if no known format fits; ``path`` is only named in the message.
    """
    found = next((entry for entry in FORMATS if entry.recognises(checkpoint)), None)
    if found is None:
        keys = ", ".join(sorted(map(str, checkpoint))[:5]) or "nothing"
        known = "; ".join(entry.name for entry in FORMATS)
        raise UserError(f"{path}: no known checkpoint format, its keys are {keys}; known formats: {known}")
    names, dropped = {}, {}
    rules = [COUNTER, *found.dropped]
    tensors = found.tensors(checkpoint)
    for name in tensors:
        reason = next((reason for reason, pattern in rules if re.search(pattern, name)), None)
        if reason:
            dropped[name] = reason
        else:
            names[name] = name.removeprefix(found.prefix)
    about = {**ORIGIN, "input": TORCHVISION_INPUT, **found.about(checkpoint)}
    return Trunk(found.name, tensors, names, dropped, about)
