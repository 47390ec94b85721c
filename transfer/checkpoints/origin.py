"""What a file says of its weights (method, epochs, seed, input, network), checked: a file can say anything."""

import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from runtime.command_line import UserError, shortened
from runtime.results import LONGEST_TEXT

ORIGIN = {"method": "", "recipe": "", "variant": "", "epochs": 0, "seed": 0, "commit": ""}
"""What is known of weights whose file tells nothing."""

SUITE = "this repository: pretrain/checkpoints/checkpoint.py"


def is_text(value: object) -> bool:
    """Whether a value is a text, and none too long for a record."""
    return isinstance(value, str) and len(value) <= LONGEST_TEXT


def is_count(value: object) -> bool:
    """Whether a value is a whole number from 0 that torch and numpy have."""
    return type(value) is int and 0 <= value < 2**63


def is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number and no truth value."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def are_channels(value: Any, *, above: float = -math.inf) -> bool:
    """Whether ``value`` is three finite numbers above a bound."""
    return isinstance(value, list | tuple) and len(value) == 3 and all(is_number(one) and one > above for one in value)


Check = tuple[Callable[[Any], bool], str]
TEXT: Check = (is_text, f"a text of at most {LONGEST_TEXT} characters")
COUNT: Check = (is_count, "a whole number of at least 0")
HEADS: Check = (lambda value: is_count(value) and value > 0, "a whole number of at least 1")
TRUTH: Check = (lambda value: isinstance(value, bool), "true or false")
MEAN: Check = (are_channels, "three numbers")
STD: Check = (lambda value: are_channels(value, above=0), "three numbers above 0")
EPSILON: Check = (lambda value: is_number(value) and 0 < value < 1, "a number above 0 and below 1")
ORDER: Check = (lambda value: value in ("RGB", "BGR"), "RGB or BGR")

OF_ORIGIN = {key: TEXT if isinstance(value, str) else COUNT for key, value in ORIGIN.items()}
OF_INPUT = {"order": ORDER, "pixel_mean": MEAN, "pixel_std": STD}
OF_NETWORK = {
    **dict.fromkeys(("family", "name", "heads_from"), TEXT),
    **dict.fromkeys(("width", "depth", "patch", "grid"), COUNT),
    "heads": HEADS,
    "class_token": TRUTH,
    "layer_norm_eps": EPSILON,
}
EDITED = "was the file edited?"


def check(told: object, checks: Mapping[str, Check], where: object, *, remedy: str = EDITED) -> dict[str, Any]:
    """``told`` as a dictionary, if what it has of the keys of ``checks`` passes them.

    Raises UserError naming the key, what it is and what was expected; ``where`` names the file.
    """
    if not isinstance(told, Mapping):
        raise UserError(f"{where} holds {shortened(repr(told), 60)} where keys and values belong; {remedy}")
    for key, (fits, expected) in checks.items():
        if key in told and not fits(told[key]):
            raise UserError(f"{where}: {key} is {shortened(repr(told[key]), 60)}, expected {expected}; {remedy}")
    return dict(told)


def checked(about: object, path: str | Path) -> dict[str, Any]:
    """What a file says of its weights (``ORIGIN``'s keys, ``input``, ``backbone``), where it says it as it should.

    Raises UserError for what is of another kind: a result is refused for it only after the training.
    """
    told = check(about, OF_ORIGIN, path)
    if told.get("input") is not None:
        seen = check(told["input"], {**OF_INPUT, "stride_in_1x1": TRUTH}, f"{path} (input)")
        if absent := [key for key in OF_INPUT if key not in seen]:
            raise UserError(f"{path} (input): {absent[0]} is missing; {EDITED}")
    if told.get("backbone") is not None:
        check(told["backbone"], OF_NETWORK, f"{path} (backbone)")
    return told


def of_suite(content: dict) -> dict:
    """What a file of this suite says of itself, in Detectron2's terms; not checked."""
    told = {key: content[key] for key in ORIGIN if key in content}
    if seen := content.get("input"):
        seen = seen if isinstance(seen, Mapping) else {}
        scale = {f"pixel_{key}": _in_bytes(seen.get(key)) for key in ("mean", "std")}
        told["input"] = {"order": seen.get("order"), **scale, "stride_in_1x1": seen.get("stride_in_1x1", False)}
    return told


def _in_bytes(values: Any) -> Any:
    """Three numbers for values from 0 to 1 as those for values from 0 to 255; what is no three numbers as it is."""
    return [round(255 * one, 4) for one in values] if are_channels(values) else values
