"""The records of the jobs of a runs folder: what to run, who runs it, how far it is and how it ended.

In RUNS/jobs/<job>/, beside RUNS/jobs/graph.json (`runtime.job_graph`):

call.json            what to run (`Call`); written before the job is submitted
submitted.json       who runs it (`Submission`)
started-<rank>.json  a task reached its stage (`Start`); by that task
progress.json        how far it is (`runtime.progress.Snapshot`); by its first task
interrupted.json     it saved and stopped on request (`Interruption`); by its first task
ended-<rank>.json    a task failed: exit code and reason (`End`); by that task
done.json            it ended well (`Done`); by its first task
cancelled.json       a run on this machine must neither begin it nor continue it
<id>_<rank>_log.*    its output and its errors; those of an array's jobs lie in RUNS/jobs/arrays/<name>/
<id>_exit            beside the logs: the exit code of a batch script that did not end well

Each file has one writer and one typed reader, here. A file that is not there is None; one that is damaged is a
UserError that names the file and the remedy.
"""

import contextlib
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from runtime import files, progress, typed_json
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.provenance import commit
from runtime.typed_json import Record


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a job runs: ``module.main(argv)`` in the folder ``cwd``."""

    module: str
    argv: tuple[str, ...]
    cwd: str
    home: str
    """The folder of the job's records."""

    key: str | None = None
    code: str | None = None
    inputs: dict[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Submission:
    """Who runs a job."""

    executor: str
    """``slurm`` or ``local``."""

    job_id: str
    """SLURM's, of an array's element ``100_3``; on this machine the process id of submitit's controller."""

    host: str
    argv: tuple[str, ...]
    log: str | None = None
    """Errors of its first task, relative to the runs folder, which may be moved."""

    cancelled: bool = False
    """slurm/cancel.py took it out."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """A task of a job reached its stage."""

    job_id: str
    host: str


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """A job saved and stopped on request; the same command goes on."""

    seconds: float
    """How long it ran until then, all its starts together."""

    job_id: str | None = None
    """The submission that stopped; empty once it has started again. Earlier versions did not record it."""


@dataclass(frozen=True, kw_only=True)
class End:
    """A task of a job failed."""

    job_id: str
    exit_code: int
    reason: str
    """One line."""

    lost_task: bool = False
    """It ended because another task of the job had died; that one knows more."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """A job ended well."""

    argv: tuple[str, ...]
    seconds: float
    """How long it ran, interrupted starts included."""

    commit: str = ""
    key: str | None = None
    code: str | None = None
    inputs: dict[str, str] | None = None


FILES: dict[type, tuple[str, str]] = {
    Call: ("call.json", "delete it; slurm/run_all.py writes it again"),
    Submission: ("submitted.json", "delete it once the job is not in the queue any more"),
    Interruption: ("interrupted.json", "delete it; only the count of used hours suffers"),
    Done: ("done.json", "delete it; the job then counts as not done"),
    progress.Snapshot: ("progress.json", "delete it; the job writes it again"),
}
"""The file of each record in a job's folder, and what to do where it is damaged."""

NO_FAILURE = (0, 75, 140, 143)
"""Exit codes of a batch script that are no failure: done, or interrupted."""


def home(runs: Path, name: str) -> Path:
    """The folder of a job's records and logs."""
    return runs / "jobs" / name


def write_call(runs: Path, job: Job) -> Path:
    """Record what a job is before it is submitted, and remove what earlier runs of it left; returns the file's path."""
    folder = home(runs, job.name)
    before = read(folder, Call)
    goes_on = before is not None and before.argv == job.argv and read(folder, Done) is None
    stale = [folder / "done.json", folder / "progress.json"]
    for path in [*stale, *folder.glob("started-*.json"), *folder.glob("ended-*.json")]:
        path.unlink(missing_ok=True)
    if not goes_on:
        (folder / "interrupted.json").unlink(missing_ok=True)
    call = {"module": job.module, "argv": list(job.argv), "cwd": os.getcwd(), "home": str(folder.absolute())}
    files.write_json(folder / "call.json", {**call, **job.identity})
    return folder / "call.json"


def write_submission(runs: Path, job: Job, executor: str, job_id: str, *, log: Path) -> None:
    """Record who runs a job; ``log`` is where its first task writes its errors."""
    record = Submission(
        executor=executor,
        job_id=job_id,
        host=socket.gethostname(),
        argv=job.argv,
        log=os.path.relpath(log, runs),
    )
    _write(home(runs, job.name), record)


def set_cancelled(runs: Path, name: str, cancelled: bool) -> None:
    """Record of a submission that slurm/cancel.py took it out, or that it did not."""
    folder = home(runs, name)
    if submission := read(folder, Submission):
        _write(folder, replace(submission, cancelled=cancelled))


def write_start(folder: Path, rank: int, job_id: str) -> None:
    """Record that a task reached its stage; what its earlier start recorded of its end no longer holds."""
    files.write_json(folder / f"started-{rank}.json", asdict(Start(job_id=job_id, host=socket.gethostname())))
    (folder / f"ended-{rank}.json").unlink(missing_ok=True)
    if rank == 0:
        (folder / "progress.json").unlink(missing_ok=True)
        if interruption := read(folder, Interruption):
            _write(folder, replace(interruption, job_id=""))


def write_interruption(folder: Path, job_id: str, seconds: float) -> None:
    """Record that a job saved and stopped after ``seconds``, which are added to those of its earlier starts."""
    _write(folder, Interruption(seconds=round(_seconds_before(folder) + seconds, 1), job_id=job_id))


def write_end(folder: Path, rank: int, end: End) -> None:
    """Record that a task failed."""
    files.write_json(folder / f"ended-{rank}.json", asdict(end))


def write_done(folder: Path, argv: Sequence[str], seconds: float) -> None:
    """Record that a job ended well; ``folder`` is its home, where `write_call` recorded its identity.

    A damaged record of its beginning does not make it a failure.
    """
    call = None
    with contextlib.suppress(UserError):
        call = read(folder, Call)
    record = Done(argv=tuple(argv), seconds=round(_seconds_before(folder) + seconds, 1), commit=commit())
    if call and call.argv == record.argv:
        record = replace(record, key=call.key, code=call.code, inputs=call.inputs)
    _write(folder, record)


def write_cancelled(runs: Path, name: str) -> None:
    """Keep a run on this machine from beginning or continuing a job."""
    files.write_json(home(runs, name) / "cancelled.json", {"process": os.getpid(), "host": socket.gethostname()})


def is_cancelled(runs: Path, name: str) -> bool:
    """Whether a job on this machine must neither begin nor go on."""
    return (home(runs, name) / "cancelled.json").exists()


def remove_cancelled(runs: Path, names: Iterable[str]) -> None:
    """Let jobs be run again."""
    for name in names:
        (home(runs, name) / "cancelled.json").unlink(missing_ok=True)


def _seconds_before(folder: Path) -> float:
    with contextlib.suppress(UserError):
        interruption = read(folder, Interruption)
        return interruption.seconds if interruption else 0.0
    return 0.0


def _write(folder: Path, record) -> None:
    """Write a record to its file; a field that says nothing is left out."""
    defaults = {f.name: f.default for f in fields(record)}
    values = {name: value for name, value in asdict(record).items() if value != defaults[name]}
    files.write_json(folder / FILES[type(record)][0], values)


def read(folder: Path, kind: type[Record]) -> Record | None:
    """The record of a kind in a job's folder; None if there is none. Raises UserError if it is damaged."""
    name, remedy = FILES[kind]
    return typed_json.read(os.path.join(folder, name), kind, remedy)


def has_started(folder: Path, rank: int, job_id: str) -> bool:
    """Whether a task of this submission reached its stage."""
    start = typed_json.read(folder / f"started-{rank}.json", Start, "delete it")
    return start is not None and start.job_id == job_id


def read_ends(folder: Path) -> list[End]:
    """The records of the tasks that failed, by rank."""
    paths = files.listed(folder, "ended-*.json")
    ends = [typed_json.read(path, End, "delete it; only the reason of a failure is lost") for path in paths]
    return [end for end in ends if end is not None]


def logs(runs: Path, name: str, submission: Submission | None) -> list[Path]:
    """Errors and output of the last submission's first task, which reports for all; empty if there was none."""
    if submission is None:
        return []
    log = runs / submission.log if submission.log else home(runs, name) / f"{submission.job_id}_0_log.err"
    return [log, log.with_suffix(".out")]


def script_exit_code(log: Path, job_id: str) -> int | None:
    """The exit code that a job's batch script recorded beside its logs; None if it recorded no failure."""
    try:
        code = int((log.parent / f"{job_id}_exit").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return None if code in NO_FAILURE else code


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the last submission of a job ended, as far as its records say."""

    state: str
    """done, failed, stopped, cancelled; empty where no record says that it ended."""

    reason: str = ""
    """failed: why, in one line; empty where no task of the job could say."""

    lost_task: bool = False
    """failed: the reason is only that another task had died."""

    seconds: float = 0
    """done, stopped: how long it ran, all its starts together."""


def outcome(runs: Path, job: Job, submission: Submission | None) -> Outcome:
    """How the last submission of a job ended, by its records alone.

    A job that was interrupted and queued again counts as stopped until it starts: whoever can ask the queue knows
    more. A job whose node died leaves no record, and its state is empty.
    """
    folder = home(runs, job.name)
    done = read(folder, Done)
    if done is not None and done.argv == job.argv and job.has_outputs:
        return Outcome(state="done", seconds=done.seconds)
    if submission is None:
        return Outcome(state="")
    if submission.cancelled:
        return Outcome(state="cancelled")
    ends = [end for end in read_ends(folder) if end.job_id == submission.job_id]
    if ends:
        cause = min(ends, key=lambda end: end.lost_task)  # a task that knows its own cause goes first
        return Outcome(state="failed", reason=cause.reason, lost_task=cause.lost_task)
    code = script_exit_code(logs(runs, job.name, submission)[0], submission.job_id)
    if code is not None:
        return Outcome(state="failed", reason=f"exit code {code}", lost_task=True)
    interruption = read(folder, Interruption)
    if interruption is not None and interruption.job_id in (submission.job_id, None):
        return Outcome(state="stopped", seconds=interruption.seconds)
    return Outcome(state="")
