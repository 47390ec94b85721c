"""The graph of a runs folder, RUNS/jobs/graph.json: every job that was ever requested there."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from runtime import files, typed_json
from runtime.command_line import UserError
from runtime.settings import ABOVE_0, AT_LEAST_1, NOT_NEGATIVE

REMEDY = "delete it and give the slurm/run_all.py command again"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a job asks for."""

    gpus: int = field(default=0, metadata=NOT_NEGATIVE)
    """GPUs of the whole job, one task each; 0 is one task without a GPU."""

    cpus: int = field(default=4, metadata=AT_LEAST_1)
    """CPU cores of each task."""

    mem_gb: float = field(default=8, metadata=ABOVE_0)
    """Memory of each task."""

    hours: float = field(default=1, metadata=ABOVE_0)
    """Time limit of one submission, not of the work: at the limit a job saves, queues itself again and goes on."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command with a name, the files it reads and writes, and what it waits for."""

    name: str
    """Its folder relative to the runs folder, e.g. ``matrix_ssl-demo-seed0/pretrain``."""

    stage: str
    module: str
    argv: tuple[str, ...]

    folder: Path
    """Where it writes."""

    inputs: tuple[Path, ...] = ()
    """Files that have to exist before it starts; not recorded."""

    outputs: tuple[Path, ...]
    """Files that are all there once it is complete; empty: it is never complete."""

    needs: tuple[str, ...] = ()
    """Names of the jobs that come before it."""

    fan_in: bool = False
    """Starts when the jobs before it have ended, well or not; every other job needs them to have ended well."""

    resources: Resources

    row: str = ""
    """The folder of its row; empty for a job of the whole plan."""

    label: str = ""
    """The row's method and variant."""

    seed: int | None = None

    identity: Mapping[str, object] = field(default_factory=dict)
    """Key, code and inputs, by which a finished job is recognised; recorded in call.json."""

    @property
    def command(self) -> str:
        """The command line that does the same by hand."""
        return shlex.join(["python", "-m", self.module, *self.argv])

    @property
    def stage_path(self) -> str:
        """Its name without its row: ``demo-fpn-scenes``."""
        return self.name.removeprefix(f"{self.row}/")

    @property
    def has_outputs(self) -> bool:
        """Whether all the files that it writes are there."""
        return all(os.path.isfile(path) for path in self.outputs)


def path_of(runs: Path) -> Path:
    """Where the graph of a runs folder is."""
    return runs / "jobs" / "graph.json"


def known_as(runs: Path) -> Path:
    """The name by which the jobs of a runs folder know it, if that leads there from here; else ``runs``.

    The command lines and the records of the runs hold it: by another name of the same folder (absolute, through a
    link) a finished job would be another one.
    """
    for entry in _entries(runs):
        folder, words = entry.get("folder"), entry.get("argv")
        for word in words if isinstance(words, list) else ():
            name, found, _ = f"{word}/".rpartition(f"/{folder}/")
            if found and name and os.path.isdir(name) and os.path.samefile(name, runs):
                return Path(name)
    return runs


def save(runs: Path, jobs: Sequence[Job]) -> None:
    """Add ``jobs`` to the graph of ``runs``; one of the same name replaces the earlier one."""
    entries = {entry["name"]: entry for entry in _entries(runs)}
    for job in jobs:
        entries[job.name] = _entry(runs, job)
    files.write_text(path_of(runs), json.dumps(list(entries.values())) + "\n")


def load(runs: Path) -> list[Job]:
    """The jobs of ``runs``, rows together, the jobs that gather results last; empty where none was ever requested.

    Raises UserError for a damaged graph.json.
    """
    jobs = [_job(runs, entry) for entry in _entries(runs)]
    return sorted(jobs, key=lambda job: (job.fan_in, not job.row and "/" not in job.name))


def _entries(runs: Path) -> list[dict]:
    entries = typed_json.read_json(path_of(runs), REMEDY)
    if entries is None:
        return []
    if not isinstance(entries, list) or not all(map(_is_named, entries)):
        raise UserError(f"{path_of(runs)}: expected a list of jobs with names; {REMEDY}")
    return entries


def _is_named(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("name"), str)


def _entry(runs: Path, job: Job) -> dict:
    """A job as plain values, its files relative to ``runs``, which may be moved."""
    plain = {f.name: getattr(job, f.name) for f in fields(Job) if f.name not in ("inputs", "identity")}
    plain["folder"] = os.path.relpath(job.folder, runs)
    plain["outputs"] = [os.path.relpath(path, runs) for path in job.outputs]
    plain["resources"] = asdict(job.resources)
    return plain


def _job(runs: Path, entry: Mapping) -> Job:
    plain = {name: value for name, value in entry.items() if name not in ("folder", "outputs", "resources")}
    path = path_of(runs)
    folder, outputs, resources = (entry.get(name) for name in ("folder", "outputs", "resources"))
    if not isinstance(folder, str) or not isinstance(outputs, list) or not isinstance(resources, dict):
        raise UserError(f"{path}: {entry['name']} lacks folder, outputs or resources; {REMEDY}")
    asked = typed_json.parse(Resources, resources, where=f"{path}: resources of {entry['name']}", remedy=REMEDY)
    given = {"folder": runs / folder, "outputs": tuple(runs / str(output) for output in outputs), "resources": asked}
    return typed_json.parse(Job, plain, where=f"{path}: {entry['name']}", remedy=REMEDY, given=given)
