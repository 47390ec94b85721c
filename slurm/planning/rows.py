"""The rows of the table: a method, perhaps a variant of it, and a seed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.command_line import printable, shortened

RANDOM = "random"
"""The row that is fine-tuned from random initialisation; it has nothing to pretrain or convert."""

LANGUAGE_MODEL = "llm"
"""The rows that fine-tune a causal language model, with the stages `language` and `language_eval`."""

MOST_BYTES = 80
"""Longest name: a folder's joins several, and file systems know at most 255 bytes."""

UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A method whose pretraining differs from its recipe in some settings."""

    method: str
    settings: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pretrained backbone, or the absence of one."""

    method: str
    seed: int

    variant: str = ""
    """How it differs from its method's recipe, ``gamma=0.3``; empty if it does not."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings of pretraining that make the variant."""

    @property
    def label(self) -> str:
        """The row without its seed: ``matrix_ssl+gamma=0.3``; only characters that a path and a shell leave alone."""
        return f"{self.method}+{UNSAFE.sub('-', self.variant)}" if self.variant else self.method

    def folder(self, recipe: str) -> str:
        """Its folder below the runs folder."""
        stem = "" if self.method == RANDOM else f"-{Path(recipe).stem}"
        return f"{self.label}{stem}-seed{self.seed}"


def rows_of(methods: Sequence[str], variants: Mapping[str, Variant], seeds: Sequence[int]) -> list[Row]:
    """Every row, seed by seed, the variants after the plain methods."""
    plain = [Row(method=method, seed=seed) for seed in seeds for method in methods]
    varied = [
        Row(method=variant.method, seed=seed, variant=name, settings=variant.settings)
        for seed in seeds
        for name, variant in variants.items()
    ]
    return plain + varied


def chosen(names: Sequence[str], variants: Mapping[str, Variant]) -> tuple[list[str], dict[str, Variant]]:
    """What ``--methods A,B`` leaves of a preset: names of its variants keep these, all others are methods."""
    return [name for name in names if name not in variants], {
        name: variants[name] for name in names if name in variants
    }


def faults_of(variants: Mapping[str, Variant], methods: Sequence[str]) -> list[str]:
    """A line for each variant that is none, has the name of a method, or shares its folder's name with another."""
    faults = []
    folders: dict[str, str] = {}
    for name, variant in variants.items():
        safe = UNSAFE.sub("-", name)
        if variant.method == RANDOM:
            faults.append(f"variant {name!r} is of {RANDOM}, which has no pretraining to vary; choose another method")
        if not variant.settings:
            faults.append(
                f"variant {name!r} changes no setting; expected NAME: {{method: M, settings: {{KEY: VALUE}}}}"
            )
        if len(safe) > MOST_BYTES:
            faults.append(f"variant {name!r} is longer than {MOST_BYTES} characters; shorten it")
        if name in methods:
            faults.append(f"variant {name!r} has the name of a method; rename it")
        if safe in folders:
            faults.append(f"variants {folders[safe]!r} and {name!r} share the folder name {safe}; rename one")
        folders.setdefault(safe, name)
    return faults


def folder_fault(kind: str, name: str) -> str:
    """What is wrong with a name that becomes part of a folder's name: one line, empty if nothing is."""
    fits = name and name.isprintable() and len(name.encode()) <= MOST_BYTES
    if fits and name[0] not in "-." and not set(name) & set("/\\%"):
        return ""
    shown = shortened(printable(repr(name)), 80)
    return (
        f"{kind} {shown} cannot name a folder; expected at most {MOST_BYTES} bytes of printable characters, no / \\ or "
        "%, no - or . first"
    )
