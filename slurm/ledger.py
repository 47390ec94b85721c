"""The memory of a runs folder: what was submitted, what is done, and that only one of us works in it.

RUNS/jobs/.lock                      held while jobs are submitted, or run here
RUNS/jobs/<job>/submitted.json       who runs it: {"executor", "job_id", "host", "argv"}
RUNS/jobs/<job>/done.json            written where the job ran, once it was complete: {"argv", "seconds", "commit"}
RUNS/jobs/<job>/<id>_<rank>_log.*    its output and its errors
"""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from pretrain import files
from pretrain.command_line import UserError
from pretrain.provenance import commit
from slurm.graph import Job


def home(runs: Path, name: str) -> Path:
    """The folder of a job's records and logs."""
    return runs / "jobs" / name


def done(runs: Path, jobs: Sequence[Job]) -> set[str]:
    """Names of the jobs that need not be run.

    Such a job has run to its end with this very command, its outputs are there, and nothing it needs has to be
    run. Anything less is run again, and the stage itself decides: it returns at once, resumes, or refuses.
    """
    names: set[str] = set()
    for job in jobs:
        complete = bool(job.outputs) and all(path.exists() for path in job.outputs)
        if complete and ended_well(runs, job) and names.issuperset(job.needs):
            names.add(job.name)
    return names


def mark_done(folder: Path, argv: Sequence[str], seconds: float) -> None:
    """Record that a job ended well; ``folder`` is its home."""
    files.write_json(folder / "done.json", {"argv": list(argv), "seconds": round(seconds, 1), "commit": commit()})


def ended_well(runs: Path, job: Job) -> bool:
    """Whether the last run of this very command came to its end."""
    return read(home(runs, job.name) / "done.json").get("argv") == list(job.argv)


def forget(runs: Path, job: Job) -> None:
    """Forget, before a job is submitted, that it was ever done."""
    (home(runs, job.name) / "done.json").unlink(missing_ok=True)


def mark_submitted(runs: Path, job: Job, executor: str, job_id: str) -> None:
    """Record who runs a job."""
    folder = home(runs, job.name)
    record = {"executor": executor, "job_id": job_id, "host": socket.gethostname(), "argv": list(job.argv)}
    files.write_json(folder / "submitted.json", record)


def submitted(runs: Path, job: Job) -> dict:
    """The record of the last submission; empty if there was none."""
    return read(home(runs, job.name) / "submitted.json")


def read(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} is not the json this program wrote; delete it") from error


def refuse_leftovers(runs: Path, jobs: Sequence[Job]) -> None:
    """Raise UserError if a job still runs on this machine, left behind by a process that was killed."""
    for job in jobs:
        record = submitted(runs, job)
        if record.get("executor") == "local" and record["host"] == socket.gethostname() and lives(record["job_id"]):
            raise UserError(
                f"{job.name} is still running as process {record['job_id']}, left by a run that was killed; "
                f"wait for it, or make it save and end with: kill {record['job_id']}"
            )


def lives(process: str) -> bool:
    """Whether a process is one of submitit's; its number alone could by now be anybody's."""
    with contextlib.suppress(OSError):
        return b"submitit" in Path(f"/proc/{process}/cmdline").read_bytes()
    return False


@contextlib.contextmanager
def lock(runs: Path) -> Iterator[None]:
    """Keep everybody else out of ``runs``; the system lets go of it however this process ends.

    Raises UserError if somebody holds it, or the folder cannot be written.
    """
    path = runs / "jobs" / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another --runs folder") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise UserError(
                f"{runs} is in use by {file.read().strip() or 'another run'}; wait for it to end"
            ) from error
        except OSError as error:
            raise UserError(f"{path} cannot be locked ({error.strerror}); choose a --runs folder that can") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
