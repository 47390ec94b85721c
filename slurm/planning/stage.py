"""What a stage is: a command, the files it reads and writes, and what it asks of a machine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runtime.job_graph import Resources
from slurm.planning.preset import Plan
from slurm.planning.rows import Row


@dataclass(frozen=True, kw_only=True)
class Work:
    """One call of a stage's command."""

    folder: str
    """Where it writes, relative to the runs folder."""

    argv: list[str]
    """The arguments of the command."""

    inputs: tuple[Path, ...] = ()
    """Files that have to exist before it starts."""

    name: str = ""
    """Name of the job, where two of them write into one folder; else it is the folder."""

    outputs: tuple[str, ...] | None = None
    """Instead of its stage's, where they depend on settings."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A kind of job."""

    module: str
    """The module whose ``main(argv)`` is run."""

    work: Callable[[Plan, Row], list[Work]]
    """What is to be called for a plan and a row."""

    outputs: tuple[str, ...] = ()
    """Files in the job's folder that are all there once it is complete; none: it is run every time."""

    per_row: bool = True
    """False: once for the whole plan, before the rows or after them as it stands in the table of stages."""

    last: bool = False
    """Runs when every other job of the graph has ended, well or not: one failed cell must not cost the table."""

    implies: tuple[str, ...] = ()
    """Stages that are run along; those with nothing to do for a plan leave no job."""

    resources: Resources = Resources()
    """What a job asks for where the preset says nothing."""


def options(told: dict[str, str]) -> list[str]:
    """``{"images": "2000"}`` -> ``["--images", "2000"]``."""
    return [word for key, value in told.items() for word in (f"--{key}", value)]
