"""What a stage is: a command, the files it reads and writes, and what it asks of a machine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.job_graph import Resources
from slurm.planning.experiment import Experiment
from slurm.planning.rows import Row


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One call of a stage's command."""

    folder: str
    """Where it writes, relative to the runs folder."""

    argv: list[str]
    """The arguments that the graph gives."""

    settings: Mapping[str, str] = field(default_factory=dict)
    """The settings of preset and command line; as options or as KEY=VALUE they follow ``argv``."""

    inputs: tuple[Path, ...] = ()
    """Files that have to exist before it starts."""

    name: str = ""
    """Name of the job, where two of them write into one folder; else it is the folder."""

    outputs: tuple[str, ...] | None = None
    """Instead of its stage's, where they depend on settings."""


def no_invocations(experiment: Experiment, row: Row) -> list[Invocation]:
    """Of a stage that stands for others."""
    return []


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A kind of job."""

    module: str = ""
    """The module of its command; empty: the stage is a name for those that it implies."""

    invocations: Callable[[Experiment, Row], list[Invocation]] = no_invocations
    """What to call for an experiment and a row."""

    outputs: tuple[str, ...] = ()
    """Files in the job's folder that are all there once it is complete; none: it is run every time."""

    per_row: bool = True
    """False: once for the whole experiment, before the rows or after them as it stands in the registry."""

    gathers: bool = False
    """Runs when every other job of the graph has ended, well or not: one failed cell must not cost the table."""

    implies: tuple[str, ...] = ()
    """Stages that are run along; those with nothing to do for an experiment leave no job."""

    resources: Resources = Resources()
    """What a job asks for where the preset says nothing."""
