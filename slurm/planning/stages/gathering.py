"""Gathering the results of all jobs: the tables and the report."""

from slurm.planning.experiment import Experiment
from slurm.planning.rows import Row
from slurm.planning.stage import Invocation


def tables(experiment: Experiment, row: Row) -> list[Invocation]:
    """Put every result into tables."""
    argv = [str(experiment.runs)]
    return [Invocation(folder="results", argv=argv, settings=experiment.settings_for("tables"))]


def report(experiment: Experiment, row: Row) -> list[Invocation]:
    """Put the whole folder on one page."""
    argv = [str(experiment.runs), "--out", str(experiment.runs / "report.html")]
    return [Invocation(folder=".", name="report", argv=argv, settings=experiment.settings_for("report"))]
