"""What shall be run: a preset, and what the command line changed of it.

A preset is a yaml file whose keys are the fields of `Plan`. Rows that differ from a method's recipe in some settings of
pretraining are its `variants`; settings of a stage that hold for one method alone stand under `STAGE@METHOD`:

    methods: [random, simclr]
    variants:
      "gamma=0.3": {method: matrix_ssl, settings: {method.gamma: 0.3}}
    settings:
      pretrain: {epochs: 100}
      pretrain@simclr: {optim.lr: 0.3}
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from runtime.command_line import UserError, one_of
from slurm.planning import rows
from slurm.planning.rows import Row, chosen, rows_of

PRESETS = Path(__file__).resolve().parent.parent / "presets"

Settings = dict[str, dict[str, str]]
"""Stage, or STAGE@METHOD -> key -> value: what a stage is told beyond what the graph itself tells it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A preset after the command line; its fields are the keys of a preset file."""

    summary: str = ""
    """One sentence: what it shows and what it costs."""

    methods: tuple[str, ...]
    """Rows of the table: names in pretrain/methods, and `random` for training from scratch."""

    variants: dict[str, dict] = field(default_factory=dict)
    """More rows: name -> {method, settings}, a method whose pretraining differs in these settings."""

    seeds: tuple[int, ...] = (0,)
    """Each row is run once per seed."""

    recipe: str
    """Name in pretrain/recipes, or path of a recipe file."""

    protocols: tuple[str, ...]
    """Names in transfer/protocols; one table each."""

    benchmarks: tuple[str, ...]
    """Names in transfer/datasets/benchmarks.py."""

    knn: tuple[str, ...] = ()
    """Benchmarks whose labelled images get the nearest-neighbour probe."""

    linear: tuple[str, ...] = ()
    """Protocols of the linear probe."""

    semi: tuple[str, ...] = ()
    """Protocol of fine-tuning on a fraction of the labels; one."""

    fractions: tuple[int, ...] = (1, 10)
    """Percent of the labels, for `semi`."""

    classification: tuple[str, ...] = ()
    """Benchmarks of `linear` and `semi`; those of `knn` where not said."""

    features: tuple[str, ...] = ()
    """Benchmarks whose features are extracted, measured and drawn."""

    settings: Settings = field(default_factory=dict)
    """Settings of the stages. Settings of `data` mean that the suite draws its own images."""

    resources: dict[str, dict[str, float]] = field(default_factory=dict)
    """Stage -> what its jobs ask for (fields of slurm.planning.stages.Resources)."""

    runs: Path = Path("runs")
    """Where everything is written."""

    @property
    def scenes(self) -> Path:
        """The embedded data set."""
        return self.runs / "data" / "scenes"

    @property
    def draws_its_data(self) -> bool:
        """Whether there is an embedded data set at all."""
        return "data" in self.settings

    @property
    def labelled(self) -> tuple[str, ...]:
        """The benchmarks of the probes that are trained on labels."""
        return self.classification or self.knn

    @property
    def rows(self) -> list[Row]:
        """Every row of the table, seed by seed."""
        return rows_of(self.methods, self.variants, self.seeds)

    def changed(self, settings: Settings) -> "Plan":
        """This plan with settings of the command line over its own; keys `resources.*` are what a stage asks for."""
        merged = {stage: dict(told) for stage, told in self.settings.items()}
        asked = {stage: dict(told) for stage, told in self.resources.items()}
        for stage, told in settings.items():
            for key, value in told.items():
                if key.startswith("resources."):
                    asked.setdefault(stage, {})[key.removeprefix("resources.")] = yaml.safe_load(value)
                else:
                    merged.setdefault(stage, {})[key] = value
        return replace(self, settings=merged, resources=asked)

    def told(self, stage: str, row: Row | None = None, *, without: Sequence[str] = ()) -> dict[str, str]:
        """The settings of a stage; for a row, those of its method over them. ``without`` leaves some keys out."""
        told = self.settings.get(stage, {}) | (self.settings.get(f"{stage}@{row.method}", {}) if row else {})
        return {key: value for key, value in told.items() if key not in without}


def available() -> list[str]:
    """Names of the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load(name: str, **changes) -> Plan:
    """Read a preset, by name or as the path of a yaml file; ``changes`` are fields that replace the preset's.

    Raises UserError for an unknown preset, one that is no yaml, or keys that no preset has.
    """
    path = Path(name) if name.endswith(".yaml") else PRESETS / f"{one_of('preset', name, available())}.yaml"
    try:
        preset = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"cannot read preset {path}: {' '.join(str(error).split())}") from error
    if not isinstance(preset, dict):
        raise UserError(f"preset {path} is not a mapping of keys to values; see {PRESETS / 'demo.yaml'}")
    known = [name for name in Plan.__dataclass_fields__ if name != "runs"]
    for key in preset:
        one_of(f"key in preset {path.name}", key, known)
    preset["settings"] = {stage: as_texts(told) for stage, told in (preset.get("settings") or {}).items()}
    preset["variants"] = variants_of(path, preset)
    preset.setdefault("methods", [] if preset["variants"] else None)
    if preset["methods"] is None:
        del preset["methods"]
    fields = preset | {key: value for key, value in changes.items() if value is not None}
    if changes.get("methods") is not None:
        fields["methods"], fields["variants"] = chosen(changes["methods"], preset["variants"])
    try:
        return Plan(**{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()})
    except TypeError as error:
        missing = [name for name in ("methods", "recipe", "protocols", "benchmarks") if name not in fields]
        raise UserError(f"preset {path.name} lacks {', '.join(missing)}") from error


def variants_of(path: Path, preset: dict) -> dict[str, dict]:
    """The variants of a preset, their settings as text. Raises UserError that names every one that is none."""
    variants = preset.get("variants") or {}
    if not isinstance(variants, dict):
        raise UserError(
            f"preset {path.name}: variants are {variants!r}; expected NAME: {{method: M, settings: {{...}}}}"
        )
    variants = {str(name): entry for name, entry in variants.items()}
    if faults := rows.faults_of(variants, preset.get("methods") or []):
        raise UserError(f"preset {path.name}: {'; '.join(faults)}")
    return {name: {**entry, "settings": as_texts(entry["settings"])} for name, entry in variants.items()}


def as_texts(told: dict | None) -> dict[str, str]:
    return {key: as_text(value) for key, value in (told or {}).items()}


def as_text(value) -> str:
    """A yaml value as it is written on a command line: ``true``, ``[1, 2]``, ``0.5``, ``text``."""
    return value if isinstance(value, str) else json.dumps(value)


def split_overrides(overrides: Sequence[str], stages: Sequence[str]) -> tuple[Settings, list[str]]:
    """``["pretrain.optim.lr=0.5"]`` -> ``{"pretrain": {"optim.lr": "0.5"}}``, and the faults found on the way.

    ``pretrain@simclr.optim.lr=0.5`` is for the rows of that method alone.
    """
    settings: Settings = {}
    faults = []
    for override in overrides:
        name, equals, value = override.partition("=")
        stage, dot, key = name.partition(".")
        if not (equals and dot and key):
            faults.append(f"expected STAGE.KEY=VALUE, got {override!r}")
        elif stage.partition("@")[0] not in stages:
            faults.append(f"unknown stage {stage!r} in {override!r}; known: {', '.join(stages)}")
        else:
            settings.setdefault(stage, {})[key] = value
    return settings, faults
