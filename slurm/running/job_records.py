"""The memory of a runs folder: what was submitted, what is done, and that only one of us works in it.

RUNS/jobs/.lock                      held while jobs are submitted, or run here
RUNS/jobs/graph.json                 every job that was ever asked for in this folder
RUNS/jobs/<job>/call.json            what is to be run: {"module", "argv", "cwd", "home", "key", "code", "inputs"}
RUNS/jobs/<job>/submitted.json       who runs it: {"executor", "job_id", "host", "argv", "log"}
RUNS/jobs/<job>/done.json            written where the job ran, once it was complete: {"argv", "seconds", "commit",
                                     "key", "code", "inputs"}
RUNS/jobs/<job>/cancelled.json       a run on this machine is not to begin it, nor to go on with it
RUNS/jobs/<job>/interrupted.json     how long it ran before it was last told to save and go: {"seconds"}
RUNS/jobs/<job>/<id>_<rank>_log.*    its output and its errors; of an array's jobs in RUNS/jobs/arrays/<name>/
RUNS/.code/<hash>/                   the code that jobs run (slurm.submitting.snapshot)
"""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from runtime import files
from runtime.command_line import UserError
from runtime.provenance import commit
from slurm.planning.graph import Job


def home(runs: Path, name: str) -> Path:
    """The folder of a job's records and logs."""
    return runs / "jobs" / name


def prepare(runs: Path, job: Job) -> Path:
    """Note, before a job is submitted, what it is; forget that it was ever done. Returns the path of the note."""
    folder = home(runs, job.name)
    goes_on = read(folder / "call.json").get("argv") == list(job.argv) and not (folder / "done.json").exists()
    for name in ("done.json", *([] if goes_on else ["interrupted.json"])):
        (folder / name).unlink(missing_ok=True)
    call = {"module": job.module, "argv": list(job.argv), "cwd": os.getcwd(), "home": str(folder.absolute())}
    files.write_json(folder / "call.json", call | dict(job.identity))
    return folder / "call.json"


def mark_cancelled(runs: Path, name: str) -> None:
    """Tell a run on this machine to leave a job out."""
    files.write_json(home(runs, name) / "cancelled.json", {"process": os.getpid(), "host": socket.gethostname()})


def is_cancelled(runs: Path, name: str) -> bool:
    return (home(runs, name) / "cancelled.json").exists()


def forget_cancelled(runs: Path, jobs: Sequence[Job]) -> None:
    """Who asks for jobs again wants them again."""
    for job in jobs:
        (home(runs, job.name) / "cancelled.json").unlink(missing_ok=True)


def set_aside(runs: Path, jobs: Sequence[Job]) -> None:
    """Move what finished jobs have written to a folder beside ``runs``, so that they start from nothing."""
    for job in jobs:
        finished = read(home(runs, job.name) / "done.json")
        if finished and job.outputs and job.folder.exists():
            aside = runs.with_name(f"{runs.name}.old") / f"{job.name}~{finished.get('key', 'unknown')}"
            aside.parent.mkdir(parents=True, exist_ok=True)
            job.folder.rename(aside if not aside.exists() else aside.with_name(f"{aside.name}~{time.time_ns()}"))


def mark_done(folder: Path, argv: Sequence[str], seconds: float) -> None:
    """Record that a job ended well; ``folder`` is its home, where `prepare` noted its identity."""
    call = read(folder / "call.json")
    known = {key: call[key] for key in ("key", "code", "inputs") if call.get("argv") == list(argv) and key in call}
    seconds += read(folder / "interrupted.json").get("seconds", 0)
    record = {"argv": list(argv), "seconds": round(seconds, 1), "commit": commit(), **known}
    files.write_json(folder / "done.json", record)


def mark_interrupted(folder: Path, seconds: float) -> None:
    """Add to the time that a job has taken before it is done."""
    path = folder / "interrupted.json"
    files.write_json(path, {"seconds": round(read(path).get("seconds", 0) + seconds, 1)})


def ended_well(runs: Path, job: Job) -> bool:
    """Whether the last run of this very command came to its end."""
    return read(home(runs, job.name) / "done.json").get("argv") == list(job.argv)


def mark_submitted(runs: Path, job: Job, executor: str, job_id: str, *, log: Path) -> None:
    """Record who runs a job; ``log`` is where its first task writes its errors."""
    record = {"executor": executor, "job_id": job_id, "host": socket.gethostname(), "argv": list(job.argv)}
    log = os.path.relpath(log, runs)  # the runs folder may be looked at from elsewhere, or be moved
    files.write_json(home(runs, job.name) / "submitted.json", record | {"log": log})


def submitted(runs: Path, job: Job) -> dict:
    """The record of the last submission; empty if there was none."""
    return read(home(runs, job.name) / "submitted.json")


def logs(runs: Path, job: Job) -> list[Path]:
    """Errors and output of the last submission's first task, which reports for all."""
    record = submitted(runs, job)
    if not record:
        return []
    log = runs / record["log"] if "log" in record else home(runs, job.name) / f"{record['job_id']}_0_log.err"
    return [log, log.with_suffix(".out")]


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
def lock(runs: Path, *, patience_s: float = 0) -> Iterator[None]:
    """Keep everybody else out of ``runs``; the system lets go of it however this process ends.

    Raises UserError if somebody holds it for longer than ``patience_s``, or the folder cannot be written.
    """
    path = runs / "jobs" / ".lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another --runs folder") from error
    with file:
        end = time.monotonic() + patience_s
        while not held(file, path):
            if time.monotonic() > end:
                file.seek(0)
                owner = file.read().strip() or "another run"
                raise UserError(f"{runs} is in use by {owner}; wait for it to end")
            time.sleep(0.1)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def in_use(runs: Path) -> bool:
    """Whether somebody submits jobs, or runs them here, at this moment."""
    try:
        with lock(runs):
            return False
    except UserError:
        return True


def held(file, path: Path) -> bool:
    """Try to take the lock."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise UserError(f"{path} cannot be locked ({error.strerror}); choose a --runs folder that can") from error
    return True
