"""How a graph ended: what the local scheduler and the watch on SLURM's queue both report."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class Outcome:
    """How a graph ended."""

    failed: dict[str, list[str]] = field(default_factory=dict)
    """Each job that failed -> the last lines of its log, the path of the log first."""

    never_ran: list[str] = field(default_factory=list)
    """The jobs that needed one of those."""

    cancelled: list[str] = field(default_factory=list)
    """The jobs that slurm/cancel.py took out, and those that needed them."""

    interrupted: bool = False
    """It was stopped, and what was running has saved."""
