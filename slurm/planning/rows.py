"""The rows of the table: a method, perhaps a variant of it, and a seed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RANDOM = "random"
"""The row that is fine-tuned from random initialisation; it has nothing to pretrain or convert."""

UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One pretrained backbone, or the absence of one."""

    method: str
    seed: int

    variant: str = ""
    """How it differs from its method's recipe, ``gamma=0.3``; empty if it does not."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """The settings of pretraining that make the variant."""

    @property
    def label(self) -> str:
        """The row without its seed: ``matrix_ssl+gamma=0.3``; only characters that a path and a shell leave alone."""
        return f"{self.method}+{UNSAFE.sub('-', self.variant)}" if self.variant else self.method

    def folder(self, recipe: str) -> str:
        """Its folder below the runs folder."""
        recipe = "" if self.method == RANDOM else f"-{Path(recipe).stem}"
        return f"{self.label}{recipe}-seed{self.seed}"


def rows_of(methods: Sequence[str], variants: Mapping[str, dict], seeds: Sequence[int]) -> list[Row]:
    """Every row, seed by seed, the variants after the plain methods."""
    return [
        *(Row(method=method, seed=seed) for seed in seeds for method in methods),
        *(
            Row(method=entry["method"], seed=seed, variant=name, settings=entry.get("settings") or {})
            for seed in seeds
            for name, entry in variants.items()
        ),
    ]


def chosen(names: Sequence[str], variants: Mapping[str, dict]) -> tuple[list[str], dict[str, dict]]:
    """What ``--methods A,B`` leaves of a preset: names of its variants keep these, all others are methods."""
    return [name for name in names if name not in variants], {
        name: variants[name] for name in names if name in variants
    }


def faults_of(variants: Mapping[str, dict], methods: Sequence[str]) -> list[str]:
    """One sentence for each entry of a preset's ``variants`` that is not ``NAME: {method: M, settings: {...}}``."""
    faults = []
    for name, entry in variants.items():
        example = "NAME: {method: METHOD, settings: {KEY: VALUE}}"
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("method"), str)
            or set(entry) - {"method", "settings"}
        ):
            faults.append(f"variant {name!r} is {entry!r}; expected {example}")
        elif entry["method"] == RANDOM:
            faults.append(f"variant {name!r} is one of {RANDOM}, which has no pretraining to vary")
        elif not entry.get("settings"):
            faults.append(f"variant {name!r} changes no setting; expected {example}")
        elif name in methods:
            faults.append(f"variant {name!r} has the name of a method")
    safe = [UNSAFE.sub("-", name) for name in variants]
    faults += [
        f"variants {name!r} and another share the folder name {name}" for name in {s for s in safe if safe.count(s) > 1}
    ]
    return faults
