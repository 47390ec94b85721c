"""The jobs of a runs folder as its files tell them: jobs/graph.json, what each job left there, and a given status.

Of a folder that was filled by hand the jobs are what its rows have between them: a folder that one row has and another
lacks is a cell that is not filled yet.
"""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.report_page.runs_folder import RunsFolder, leaves
from runtime.command_line import UserError

DONE, BEGUN, MISSING = "done", "begun", "missing"

ALWAYS = ("report", "tables")
"""Stages that are run every time, this page's own among them: they fill no cell."""

LAST = {"pretrain": "backbone.pth", "convert": "backbone.pkl", "features": "features.safetensors"}
"""The file that completes a folder, by the first word of its name; of every other folder it is result.json."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command of the chain and how it stands."""

    name: str
    """Its folder below the runs folder, or that and a word more."""
    row: str
    stage: str
    state: str
    detail: str = ""
    command: str = ""
    """Empty where nothing recorded it."""
    seconds: float | None = None
    """How long it ran; None where that is not known."""
    gpus: int = 0
    cores: int = 0
    """Asked for, all tasks together; 0 where that is not known."""
    hours: float = 0
    """The time limit of one submission."""

    @property
    def leaf(self) -> str:
        """What it is within its row."""
        return self.name.removeprefix(f"{self.row}/")


def read(folder: RunsFolder, status: Path | None = None) -> list[Job]:
    """Every job that is known of. Raises UserError if ``status`` is not what ``slurm/status.py --json`` prints."""
    jobs = remembered(folder) or by_hand(folder)
    return told(jobs, status) if status else jobs


def remembered(folder: RunsFolder) -> list[Job]:
    """The jobs of jobs/graph.json that fill a cell."""
    path = folder.path / "jobs" / "graph.json"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [of_entry(folder, entry) for entry in entries if entry["stage"] not in ALWAYS]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        folder.faults.append(f"jobs/graph.json: {type(error).__name__} {error}")
        return []


def of_entry(folder: RunsFolder, entry: dict) -> Job:
    asked, home = entry["resources"], folder.path / "jobs" / entry["name"]
    there = [(folder.path / output).exists() for output in entry["outputs"]]
    begun = (home / "submitted.json").exists() or any(there)
    tasks = max(1, asked["gpus"])
    return Job(
        name=entry["name"],
        row=entry["row"],
        stage=entry["stage"],
        state=DONE if all(there) else BEGUN if begun else MISSING,
        command=shlex.join(["python", "-m", entry["module"], *entry["argv"]]),
        seconds=folder.json(home / "done.json").get("seconds"),
        gpus=asked["gpus"],
        cores=tasks * asked["cpus"],
        hours=asked["hours"],
    )


def by_hand(folder: RunsFolder) -> list[Job]:
    """What the folders of the rows tell."""
    rows = folder.rows
    inside = dict.fromkeys(path.relative_to(row).as_posix() for row in rows for path in leaves(row))
    jobs = []
    for row in rows:
        for leaf in inside:
            if row.name.startswith("random-seed") and leaf in ("pretrain", "convert"):
                continue  # untrained weights are neither trained nor converted
            path, stage = row / leaf, leaf.partition("-")[0]
            done, begun = (path / LAST.get(stage, "result.json")).exists(), path.is_dir() and any(path.iterdir())
            name = folder.name(path)
            seconds = folder.json(folder.path / "jobs" / name / "done.json").get("seconds")
            if seconds is None and stage not in LAST:
                seconds = folder.json(path / "result.json").get("wall_s")
            state = DONE if done else BEGUN if begun else MISSING
            jobs.append(Job(name=name, row=row.name, stage=stage, state=state, seconds=seconds))
    return jobs


def told(jobs: Sequence[Job], status: Path) -> list[Job]:
    """The jobs with what ``slurm/status.py --json`` says of them; those that it alone knows at the end."""
    try:
        entries = json.loads(status.read_text(encoding="utf-8"))
        entries = {entry["job"]: entry for entry in entries if entry["stage"] not in ALWAYS}
        known = {job.name: job for job in jobs}
        for name, entry in entries.items():
            job = known.get(name) or Job(name=name, row=entry["row"], stage=entry["stage"], state="")
            known[name] = replace(job, state=entry["state"], detail=entry["detail"], command=entry["command"])
        return list(known.values())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{status} is not what slurm/status.py RUNS --json prints ({type(error).__name__}: {error}); write it anew"
        ) from error
