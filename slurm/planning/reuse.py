"""Which jobs need not be run again: those whose command and inputs are the same as when they ended well."""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from runtime import job_records
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.job_records import Done
from runtime.read import read_yaml
from slurm.planning.fingerprint import code_of


@dataclass(frozen=True, kw_only=True)
class ResolvedGraph:
    """A graph whose jobs have their identity, and which of them need not be run."""

    jobs: list[Job]

    done: set[str] = field(default_factory=set)
    """Names of the jobs that ran to their end with this command and these inputs, and still have their outputs."""

    other_code: dict[str, str] = field(default_factory=dict)
    """Those of them that other code made -> its commit."""

    @property
    def todo(self) -> list[Job]:
        """The jobs that are not done."""
        return [job for job in self.jobs if job.name not in self.done]


def resolve_reuse(runs: Path, jobs: Sequence[Job], *, redo: bool = False) -> ResolvedGraph:
    """Give every job its identity and find what is done; with ``redo``, what other code made is not.

    Identity is ``{"key", "code", "inputs"}``: ``inputs`` are the keys of the jobs that wrote what this one reads, as
    they were when they ran, so whatever is done again takes with it all that was made from it; and the user's own
    recipe.
    """
    graph = ResolvedGraph(jobs=[])
    keys: dict[str, str] = {}
    writer = {path: job.name for job in jobs for path in job.outputs}
    for job in jobs:
        inputs = {} if job.fan_in else {str(path): written_by(runs, path, writer, keys) for path in job.inputs}
        inputs.update(settings_in(job.argv))
        code = code_of(job.module, job.argv)
        key = digest(job.module, job.argv, code, inputs)
        record = job_records.read(job_records.home(runs, job.name), Done)
        keys[job.name] = key
        if record and job.outputs and job.has_outputs and graph.done.issuperset(job.needs):
            same = record.argv == job.argv and record.inputs in (None, inputs)
            changed = record.code not in (None, code)
            if same and not (changed and redo):
                graph.done.add(job.name)
                keys[job.name] = record.key or key
                if changed:
                    graph.other_code[job.name] = record.commit
        graph.jobs.append(replace(job, identity={"key": key, "code": code, "inputs": inputs}))
    return graph


def written_by(runs: Path, path: Path, writer: Mapping[Path, str], keys: Mapping[str, str]) -> str:
    """The key of the job that writes, or wrote, a file; of a file from elsewhere its size and date."""
    if path in writer:
        return keys[writer[path]]
    if path.is_relative_to(runs):
        record = job_records.read(job_records.home(runs, str(path.parent.relative_to(runs))), Done)
        if record and record.key:
            return record.key
    return f"{path.stat().st_size} bytes of {path.stat().st_mtime_ns}" if path.exists() else ""


def settings_in(argv: Sequence[str]) -> dict[str, str]:
    """Path -> hash of the yaml files that a command names. Comments do not count."""
    hashes = {}
    for word in own_files(argv):
        with contextlib.suppress(UserError):  # the command itself says what is wrong with it
            hashes[word] = digest(read_yaml(word))
    return hashes


def own_files(argv: Sequence[str]) -> list[str]:
    """The words of a command that are yaml files: a recipe of the user's own."""
    return [word for word in argv if word.endswith((".yaml", ".yml")) and Path(word).is_file()]


def digest(*parts: object) -> str:
    """A short hash of plain values."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]
