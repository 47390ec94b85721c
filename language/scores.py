"""What per-item results say: a share with its standard error, and whether two models differ. No torch here."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from runtime.command_line import UserError
from runtime.read import read_jsonl

ITEMS = "items.jsonl"
"""Every question's answer, one a line: index, right, expected, generated."""


class Pair(NamedTuple):
    """Two models on the same questions."""

    only_a: int
    """Questions that the first alone answers."""
    only_b: int
    p: float
    """Of McNemar's exact test."""


def accuracy(right: Sequence[bool]) -> tuple[float, float]:
    """Percent right, and its standard error as of a binomial share."""
    share = sum(right) / len(right)
    return 100 * share, standard_error(100 * share, len(right))


def standard_error(percent: float, n: int) -> float:
    """Of a share of n questions, in points."""
    return math.sqrt(percent * (100 - percent) / n)


def mcnemar(a: Sequence[bool], b: Sequence[bool]) -> Pair:
    """McNemar's exact test that two models answer the same questions equally well.

    Only questions that one model alone answers count: under the hypothesis each is as likely to be either's.
    Raises ValueError where the numbers of answers differ.
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} answers are not to the same questions")
    only_a = sum(x and not y for x, y in zip(a, b, strict=True))
    only_b = sum(y and not x for x, y in zip(a, b, strict=True))
    n, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    return Pair(only_a, only_b, min(1.0, 2 * tail / 2**n))


def read_items(path: Path) -> list[dict]:
    """The items of an evaluation. Raises UserError for a file that is none, with the number of the line."""
    items = read_jsonl(path)
    kinds = {"right": bool, "expected": str, "generated": str}
    for number, item in enumerate(items, start=1):
        if wrong := [key for key, kind in kinds.items() if not isinstance(item.get(key), kind)]:
            raise UserError(f"{path} line {number} has no {', '.join(wrong)}; evaluate the model again")
    if not items:
        raise UserError(f"{path} holds no items; evaluate the model again")
    return items
