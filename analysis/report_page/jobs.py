"""The jobs of a runs folder and how they stand: by the graph and the records of RUNS/jobs, or by a given status.

Of a folder that was filled by hand the jobs are what its rows have between them: a folder that one row has and another
lacks is a cell that is not filled yet.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from analysis.report_page.runs_folder import RunsFolder
from runtime import job_graph, job_records
from runtime.command_line import UserError
from runtime.job_graph import Job, Resources
from runtime.job_records import Submission
from runtime.progress import Snapshot
from runtime.read import read_json

DONE, RUNNING, BEGUN, MISSING = "done", "running", "begun", "missing"

ALWAYS = ("report", "tables")
"""Stages that are run every time, this page's own among them: they fill no cell."""

COMPLETE = {"pretrain": "backbone.pth", "convert": "backbone.pkl", "features": "features.safetensors"}
"""The file that completes a folder, by the first word of its name; of every other folder it is result.json."""

FRESH_S = 600
"""A record of progress that is older is of a process that may be gone."""


@dataclass(frozen=True, kw_only=True)
class JobState:
    """A job and how it stands."""

    job: Job
    state: str
    detail: str = ""
    command: str = ""
    """Empty where nothing recorded it."""
    seconds: float | None = None
    """How long it ran; None where that is not known."""

    @property
    def cores(self) -> int:
        """Requested, all tasks together; 0 where that is not known."""
        return max(1, self.job.resources.gpus) * self.job.resources.cpus


def read(folder: RunsFolder, status: Path | None = None) -> list[JobState]:
    """Every job that is known of. Raises UserError if ``status`` is not what ``slurm/status.py --json`` prints."""
    states = of_graph(folder) or by_hand(folder)
    return with_status(states, status) if status else states


def of_graph(folder: RunsFolder) -> list[JobState]:
    """The jobs of jobs/graph.json that fill a cell; none where there is no graph, or a damaged one."""
    try:
        jobs = job_graph.load(folder.path)
    except UserError as error:
        folder.fault(job_graph.path_of(folder.path), str(error))
        return []
    return [of_records(folder, job) for job in jobs if job.stage not in ALWAYS]


def of_records(folder: RunsFolder, job: Job) -> JobState:
    """How a job stands by its records; whether it waits in a queue they do not say."""
    home = job_records.home(folder.path, job.name)
    try:
        submission = job_records.read(home, Submission)
        outcome = job_records.outcome(folder.path, job, submission)
        progress = job_records.read(home, Snapshot) if submission and not outcome.state else None
    except UserError as error:
        folder.fault(home, str(error))
        return JobState(job=job, state=DONE if job.has_outputs else MISSING, command=job.command)
    state, detail = outcome.state, outcome.reason
    if not state and job.outputs and job.has_outputs:
        state = DONE
    elif not state and progress is not None:
        fresh = _age_s(home / "progress.json") < FRESH_S
        state, detail = RUNNING if fresh else BEGUN, f"{progress}{'' if fresh else ', when it last wrote'}"
    elif not state:
        state = BEGUN if submission or any(path.exists() for path in job.outputs) else MISSING
    return JobState(job=job, state=state, detail=detail, command=job.command, seconds=outcome.seconds or None)


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def by_hand(folder: RunsFolder) -> list[JobState]:
    """What the folders of the rows have between them."""
    leaves = {row: folder.leaves(row) for row in folder.rows}
    names = dict.fromkeys(path.relative_to(row).as_posix() for row, paths in leaves.items() for path in paths)
    states = []
    for row in folder.rows:
        for name in names:
            if row.name.startswith("random-seed") and name in ("pretrain", "convert"):
                continue  # untrained weights are neither trained nor converted
            states.append(_of_folder(folder, row, name))
    return states


def _of_folder(folder: RunsFolder, row: Path, name: str) -> JobState:
    path, stage = row / name, name.partition("-")[0]
    listing = folder.listing(path)
    seconds = None
    if stage not in COMPLETE and "result.json" in listing.files:
        seconds = next((v for v in [folder.json(path / "result.json").get("wall_s")] if type(v) in (int, float)), None)
    done = COMPLETE.get(stage, "result.json") in listing.files
    begun = bool(listing.files or listing.folders)
    job = without_command(folder.name(path), row=row.name, stage=stage, folder=path)
    return JobState(job=job, state=DONE if done else BEGUN if begun else MISSING, seconds=seconds)


def without_command(name: str, *, row: str, stage: str, folder: Path) -> Job:
    """A job of which nothing but its place is known."""
    nothing = Resources(gpus=0, cpus=0, mem_gb=0, hours=0)
    return Job(name=name, row=row, stage=stage, folder=folder, module="", argv=(), outputs=(), resources=nothing)


def with_status(states: Sequence[JobState], status: Path) -> list[JobState]:
    """The jobs with what ``slurm/status.py --json`` says of them; those that it alone knows at the end."""
    entries = read_json(status)
    known = {state.job.name: state for state in states}
    try:
        for entry in entries:
            if entry["stage"] in ALWAYS:
                continue
            name, texts = entry["job"], {key: str(entry[key]) for key in ("state", "detail", "command")}
            if name not in known:
                job = without_command(name, row=entry["row"], stage=entry["stage"], folder=Path(name))
                known[name] = JobState(job=job, state="")
            known[name] = replace(known[name], **texts)
    except (AttributeError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{status} is not what slurm/status.py RUNS --json prints ({reason}); write it again"
        ) from error
    return list(known.values())
