"""Jobs on this machine: one stage in its own process, through submitit's local executor, or in this very process."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from runtime import job_records, parent_watch, progress
from runtime.command_line import UserError
from runtime.cores import JOB_CORES
from runtime.job_graph import Job
from slurm.running.stage_call import INTERRUPTED, call_of, run_stage, write_end

YEAR_MIN = 365 * 24 * 60
CTRL_C = 130

REMINDER_S = 5
"""Between two signals to a job that is to stop. One that comes while submitit starts its tasks is lost: the controller
has no task yet to pass it on to, or the task lets it pass; and a task that has heard it takes no harm from another."""


class LocalJob:
    """A job in processes of its own.

    Args:
        cores: how many CPU cores all its tasks together may use.
        gpus: ids of the GPUs it gets, one task for each.
        code: folder of the packages that it runs.
    """

    def __init__(self, runs: Path, job: Job, *, cores: int, gpus: list[int], code: Path):
        import submitit

        self.job, self.stopped_at = job, None
        self.home = job_records.home(runs, job.name).absolute()
        job_records.write_call(runs, job)
        tasks = max(1, len(gpus))
        executor = submitit.LocalExecutor(folder=self.home)
        executor.update_parameters(
            timeout_min=YEAR_MIN, tasks_per_node=tasks, gpus_per_node=len(gpus), visible_gpus=tuple(gpus)
        )
        call = call_of(runs, job)
        path = os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")]))
        threads = str(max(1, cores // tasks))
        variables = {"OMP_NUM_THREADS": threads, JOB_CORES: threads, "PYTHONPATH": path, **parent_watch.variables()}
        with environment(**variables), working_in(code), without_terminal_signals():
            self.submitted = executor.submit(call)
        job_records.write_submission(runs, job, "local", self.submitted.job_id, log=self.submitted.paths.stderr)

    def code(self) -> int | None:
        """The worst exit code of its tasks, 1 for a task that ended without a word; None while it runs."""
        if not self.submitted.done():
            if self.stopped_at is not None and time.monotonic() > self.stopped_at + REMINDER_S:
                self.stop()
            return None
        worst = max(self.task_code(rank) for rank in range(self.submitted.num_tasks))
        if worst not in (0, INTERRUPTED) and not job_records.read_ends(self.home):
            write_end(self.home, 0, self.submitted.job_id, worst, "a task was killed, and recorded no reason")
        return worst

    def task_code(self, rank: int) -> int:
        from submitit.core.utils import pickle_load

        path = self.submitted.task(rank).paths.result_pickle
        outcome, value = pickle_load(path) if path.exists() else ("no result", None)
        if outcome == "no result" and self.stopped_at is not None and not self.has_started(rank):
            return INTERRUPTED  # asked to stop before the stage began: there was nothing to save
        return int(value or 0) if outcome == "success" else 1

    def has_started(self, rank: int) -> bool:
        return job_records.has_started(self.home, rank, self.submitted.job_id)

    def stop(self) -> None:
        """Let it save and end; `code` says it again until it does."""
        self.stopped_at = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(self.submitted.job_id), signal.SIGTERM)

    def kill(self) -> None:
        """End its tasks at once."""
        process = self.submitted.job_id
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{process}/task/{process}/children").read_text().split():
                os.kill(int(task), signal.SIGKILL)

    def clean(self) -> None:
        """Remove submitit's pickles; the logs stay."""
        for path in self.home.glob("*.pkl"):
            path.unlink()

    @property
    def logs(self) -> list[Path]:
        """Its errors and its output; task 0 reports for all."""
        return [self.submitted.paths.stderr, self.submitted.paths.stdout]


class DebugJob:
    """A job in this process: it has ended when it is made. Raises KeyboardInterrupt if it was asked to stop."""

    logs: tuple[Path, ...] = ()

    def __init__(self, runs: Path, job: Job, *, cores: int, gpus: list[int]):
        self.job = job
        job_records.write_call(runs, job)
        home = job_records.home(runs, job.name)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        began = time.monotonic()
        progress.record_path = home / "progress.json"
        try:
            end = run_stage(job.module, list(job.argv))
        finally:
            progress.record_path = None
            signal.signal(signal.SIGINT, before)
        if end.code in (CTRL_C, INTERRUPTED):  # a signal to this process, which the stage received in its place
            raise KeyboardInterrupt
        if end.code == 0:
            job_records.write_done(home, job.argv, time.monotonic() - began)
        else:
            write_end(home, 0, str(os.getpid()), end.code, end.reason)
        self.exit_code = end.code

    def code(self) -> int:
        return self.exit_code

    def clean(self) -> None:
        """Nothing was left behind."""


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the processes started meanwhile."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Start processes in a folder: Python looks for modules there before anywhere else."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextlib.contextmanager
def without_terminal_signals() -> Iterator[None]:
    """Keep Ctrl-C and the loss of the terminal from the processes started meanwhile; the scheduler stops them itself.

    A terminal sends both to all of them; submitit's controller would kill its tasks a second later, too soon to save.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def visible_gpus() -> list[int]:
    """Ids of the GPUs of this machine that are open to us, found without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",") if name.strip()]
        if not all(name.isdigit() for name in names):
            raise UserError(f"CUDA_VISIBLE_DEVICES is {visible!r}; expected numbers such as 0,1")
        return [int(name) for name in names]
    try:
        listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return list(range(len(listed.stdout.splitlines()))) if listed.returncode == 0 else []
