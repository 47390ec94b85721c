"""What to run: methods with their variants and seeds, data, protocols, and the settings of every stage."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from runtime.command_line import UserError, one_of
from runtime.settings import AT_LEAST_1, NOT_NEGATIVE, Text, flat
from slurm.planning.rows import Row, Variant, rows_of

Settings = dict[str, dict[str, Any]]
"""Stage, or STAGE@METHOD -> key -> value."""

OWN_DATA = frozenset({"data", "data.root", "images", "train-json"})
"""Settings that name images of the user's own."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedData:
    """The data set that the suite draws itself (stage `data`): unlabelled scenes, classified objects, annotations."""

    folder: Path

    BENCHMARK = "scenes"
    """Its name among the benchmarks."""

    @property
    def manifest(self) -> Path:
        """The file that says that the data set is complete."""
        return self.folder / "scenes.json"

    @property
    def classification(self) -> Path:
        """train/CLASS/IMAGE and val/CLASS/IMAGE."""
        return self.folder / "classification"

    def pretraining(self, *, labelled: bool) -> Path:
        """The images for pretraining, with or without labels."""
        return self.classification / "train" if labelled else self.folder / "unlabelled"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A file of slurm/presets; its keys are these fields."""

    summary: str = ""
    """One sentence: what it shows and what it costs."""

    methods: tuple[str, ...] = ()
    """Rows of the table: names in pretrain/methods, and `random` for training from scratch."""

    variants: dict[str, Variant] = field(default_factory=dict)
    """More rows: a method whose pretraining differs in some settings."""

    seeds: tuple[int, ...] = field(default=(0,), metadata=NOT_NEGATIVE)
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

    finetune: tuple[str, ...] = ()
    """Protocols of fine-tuning on all labels."""

    semi: tuple[str, ...] = ()
    """Protocol of fine-tuning on a fraction of the labels; one."""

    fractions: tuple[int, ...] = field(default=(1, 10), metadata=AT_LEAST_1)
    """Percent of the labels, for `semi`."""

    classification: tuple[str, ...] = ()
    """Benchmarks of `linear`, `finetune` and `semi`; empty: those of `knn`."""

    features: tuple[str, ...] = ()
    """Benchmarks whose features are extracted, measured and drawn."""

    language: tuple[str, ...] = ()
    """Benchmarks of `language_eval`, for rows of the method `llm`."""

    embedded_data: bool = False
    """Pretrain on the images that the suite draws itself. The benchmark `scenes` is drawn in any case."""

    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Stage, or STAGE@METHOD -> key -> value: what the stage's own command line takes, as options or as KEY=VALUE."""

    resources: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Stage -> what its jobs ask for (`runtime.job_graph.Resources`)."""


@dataclass(frozen=True, kw_only=True)
class Experiment(Preset):
    """A preset after the command line."""

    runs: Path = Path("runs")
    """Where everything is written."""

    @property
    def data(self) -> EmbeddedData:
        return EmbeddedData(folder=self.runs / "data" / "scenes")

    @property
    def labelled(self) -> tuple[str, ...]:
        """The benchmarks of the probes that are trained on labels."""
        return self.classification or self.knn

    @property
    def rows(self) -> list[Row]:
        """Every row of the table, seed by seed."""
        return rows_of(self.methods, self.variants, self.seeds)

    def with_overrides(self, overrides: Settings) -> "Experiment":
        """This experiment with settings of the command line over its own; keys `resources.*` are what a stage asks
        for."""
        settings = {stage: dict(values) for stage, values in self.settings.items()}
        resources = {stage: dict(values) for stage, values in self.resources.items()}
        for stage, values in overrides.items():
            for key, value in values.items():
                of_resources = key.startswith("resources.")
                target = resources if of_resources else settings
                target.setdefault(stage, {})[key.removeprefix("resources.")] = value
        return replace(self, settings=settings, resources=resources)

    def settings_for(self, stage: str, row: Row | None = None) -> dict[str, str]:
        """The settings of a stage as texts of a command line; for a row, those of its method over them."""
        values = as_texts(self.settings.get(stage))
        if row is not None:
            values.update(as_texts(self.settings.get(f"{stage}@{row.method}")))
        return values

    def embedded_for(self, settings: Mapping[str, str], *, benchmark: str = "") -> EmbeddedData | None:
        """The embedded data set where a job with these settings reads it: for a benchmark, or without one for
        pretraining."""
        if OWN_DATA & settings.keys():
            return None
        reads_it = benchmark == EmbeddedData.BENCHMARK if benchmark else self.embedded_data
        return self.data if reads_it else None


def as_texts(values: Mapping[str, Any] | None) -> dict[str, str]:
    """``{"optim": {"lr": 0.5}, "amp": True}`` -> ``{"optim.lr": "0.5", "amp": "true"}``."""
    return {key: as_text(value) for key, value in flat(values or {}).items()}


def as_text(value: object) -> str:
    """A yaml value as it is written on a command line: ``true``, ``[1, 2]``, ``0.5``, ``text``."""
    return str(value) if isinstance(value, str) else json.dumps(value, default=str)


def parse_overrides(overrides: Iterable[str], stages: Iterable[str]) -> Settings:
    """``["pretrain.optim.lr=0.5"]`` -> ``{"pretrain": {"optim.lr": "0.5"}}``.

    ``pretrain@simclr.optim.lr=0.5`` is for the rows of that method alone. Raises UserError with a fault for each
    override that is none.
    """
    stages = list(stages)
    settings: Settings = {}
    faults = []
    for override in overrides:
        name, equals, value = override.partition("=")
        stage, dot, key = name.partition(".")
        if not (equals and dot and key) or key.startswith("-"):
            faults.append(f"expected STAGE.KEY=VALUE, got {override!r}")
            continue
        try:
            one_of("stage", stage.partition("@")[0], stages)
        except UserError as error:
            faults.append(f"{override}: {error}")
            continue
        settings.setdefault(stage, {})[key] = Text(value)
    if faults:
        raise UserError.of(faults)
    return settings
