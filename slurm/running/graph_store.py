"""The graph of a runs folder: every job that was ever asked for there, so that one can ask later how it went."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from runtime import files
from runtime.command_line import UserError
from slurm.planning.graph import Job
from slurm.planning.stage import Resources


def path_of(runs: Path) -> Path:
    return runs / "jobs" / "graph.json"


def remember(runs: Path, jobs: Sequence[Job]) -> None:
    """Add ``jobs`` to the graph of ``runs``; one of the same name takes the place of the earlier one."""
    known = {entry["name"]: entry for entry in entries(runs)}
    known |= {job.name: entry_of(runs, job) for job in jobs}
    files.write_text(path_of(runs), json.dumps(list(known.values())) + "\n")


def recall(runs: Path) -> list[Job]:
    """The jobs of ``runs``, needs first; none where nothing was ever asked for. UserError if the file is damaged."""
    try:
        return in_order([job_of(runs, entry) for entry in entries(runs)])
    except (KeyError, TypeError) as error:
        raise UserError(f"{path_of(runs)} is not what run_all.py writes ({error}); delete it and run that") from error


def entries(runs: Path) -> list[dict]:
    try:
        return json.loads(path_of(runs).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise UserError(f"{path_of(runs)} is not the json this program wrote; delete it") from error


def entry_of(runs: Path, job: Job) -> dict:
    """A job as plain values, its files relative to ``runs``: the folder may be looked at from anywhere."""
    plain = {field.name: getattr(job, field.name) for field in fields(Job) if field.name not in ("inputs", "identity")}
    plain["folder"] = os.path.relpath(job.folder, runs)
    plain["outputs"] = [os.path.relpath(path, runs) for path in job.outputs]
    return plain | {"resources": asdict(job.resources)}


def job_of(runs: Path, entry: dict) -> Job:
    places = {"folder": runs / entry["folder"], "outputs": tuple(runs / path for path in entry["outputs"])}
    lists = {"argv": tuple(entry["argv"]), "needs": tuple(entry["needs"]), "inputs": ()}
    return Job(**entry | places | lists | {"resources": Resources(**entry["resources"])})


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """Rows stay together, and what gathers results comes last."""
    return sorted(jobs, key=lambda job: (job.fan_in, not job.row and "/" not in job.name))
