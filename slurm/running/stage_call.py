"""The job as it arrives on a node: a picklable call of one stage that can be stopped, queued again, and go on.

It keeps no state of its own. A stage that is asked to stop saves and ends with INTERRUPTED; started again with the
same command it goes on from its own checkpoint. So queueing the same call again is all there is to resuming.
"""

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from runtime import command_line, job_records, parent_watch, progress, rendezvous, stopping
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.job_records import End
from runtime.rendezvous import RankInfo

INTERRUPTED = stopping.RESUME_ME
"""Exit code of a stage that saved because it was asked to stop: resume me."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)

PATIENCE_S, RETRY_S = 3600, 10
"""How long a job that has saved tries to get back into the queue, and how often."""

POLL_S = 60
"""Between two questions of each of the other tasks."""

RUNS = ("RUNNING", "SIGNALING", "STOPPED", "")
"""States of a job that SLURM is not taking away. A preemption sends SIGCONT before SIGTERM, and until all nodes have
answered that, the job is SIGNALING or, where its user had stopped it, STOPPED, and runs on (``slurmctld/job_mgr.c``).
Empty where SLURM does not say."""

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "JOB_KEY")

REASON_LENGTH = 300

LOST_TASK = re.compile(r"Connection (closed|reset) by peer|Broken pipe|Socket closed|NCCL.*(remote|abort)", re.DOTALL)
"""What gloo and NCCL say in the tasks that are left when one has died."""


@dataclass(frozen=True, kw_only=True)
class StageCall:
    """Runs ``module.main(argv)`` in folder ``cwd``; every task of a job runs one, in its own process.

    The module is a name and not a function, so that a pickle says nothing about where the code lies: the node
    imports it from its own path.
    """

    module: str
    argv: tuple[str, ...]

    cwd: str
    """Folder the command was given in: relative paths mean there what they meant here."""

    home: str
    """Folder of the job's records."""

    def __call__(self) -> int:
        """Return 0, or INTERRUPTED where there is no SLURM to queue it again; any failure ends the process."""
        began = time.monotonic()
        if os.getcwd() != self.cwd:
            os.chdir(self.cwd)
        rank, folder, job_id = join_tasks(), Path(self.home), current_job_id()
        with suppress(UserError):  # records that cannot be written must not end a job
            job_records.write_start(folder, rank, job_id)
        if rank == 0:
            progress.record_path = folder / "progress.json"
        parent_watch.start()
        record_end = partial(write_end, folder, rank, job_id)
        rendezvous.on_lost_task = lambda reason: record_end(1, reason, lost_task=True)
        try:
            end = run_stage(self.module, list(self.argv))
        except BaseException as error:  # a bug of ours, whose traceback goes to the log
            record_end(1, f"{type(error).__name__}: {error}")
            raise
        if end.code == 0:
            if rank == 0:
                job_records.write_done(folder, self.argv, time.monotonic() - began)
            return 0
        if end.code != INTERRUPTED:
            record_end(end.code, end.reason, lost_task=end.lost_task)
            sys.exit(end.code)
        if rank == 0:
            with suppress(UserError):  # on a full disk the job must still queue itself again
                job_records.write_interruption(folder, job_id, time.monotonic() - began)
        if on_slurm():
            requeue(rank, record_end)
        return INTERRUPTED

    def checkpoint(self):
        """For submitit, should a signal come before the stage listens for it: the same call again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def call_of(runs: Path, job: Job) -> StageCall:
    """The picklable call of a job, to be made in the current folder."""
    home = Path.cwd() / job_records.home(runs, job.name)
    return StageCall(module=job.module, argv=job.argv, cwd=str(Path.cwd()), home=str(home))


@dataclass(frozen=True, kw_only=True)
class StageEnd:
    """How a stage ended."""

    code: int
    """Its exit code."""

    reason: str = ""
    """Why it failed; empty where it did not say."""

    lost_task: bool = False
    """It ended because another task of the job had died."""


def run_stage(module: str, argv: list[str]) -> StageEnd:
    """Run a stage in this process; its user errors are one line on stderr, as by hand. A bug is raised as it is."""
    reasons: list[str] = []

    def stage():
        try:
            return importlib.import_module(module).main(argv)
        except UserError as error:
            reasons.append(str(error))
            raise

    # A stage that does not listen for a signal has nothing to save but whole files: it may end anywhere.
    # Under nohup the loss of the terminal stays ignored.
    numbers = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        command_line.run(stage)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return StageEnd(code=code, reason="".join(reasons[:1]))
    except RuntimeError as error:
        if not LOST_TASK.search(str(error)):
            raise
        print(f"error: {rendezvous.lost()}", file=sys.stderr)
        return StageEnd(code=1, reason=rendezvous.lost(), lost_task=True)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return StageEnd(code=0)


def write_end(folder: Path, rank: int, job_id: str, code: int, reason: str, *, lost_task: bool = False) -> None:
    """Record that a task failed; where the disk is full it can only be read in the log."""
    line = " ".join((reason or f"exit code {code}").split())[:REASON_LENGTH]
    with suppress(UserError):
        job_records.write_end(folder, rank, End(job_id=job_id, exit_code=code, reason=line, lost_task=lost_task))


def stop(number, frame):
    """Answer a signal that arrives before the stage listens: end as interrupted."""
    stopping.note_signal(number)
    sys.exit(INTERRUPTED)


def join_tasks() -> int:
    """Tell the stage which of the job's tasks this is, one per GPU, in torchrun's variables; return its rank.

    Every task keeps seeing all the GPUs that its job was given and chooses by local rank: Detectron2 asks for device
    ``local_rank``, which does not exist where submitit's own helper has hidden all but one.
    """
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return 0
    if on_slurm():
        info = rendezvous.of_slurm(os.environ)
    else:
        import submitit

        here = submitit.JobEnvironment()
        key = f"local-{os.getuid()}-{here.job_id}"
        ranks = {"rank": here.global_rank, "local_rank": here.local_rank, "world_size": here.num_tasks}
        info = RankInfo(**ranks, host="127.0.0.1", key=key) if here.num_tasks > 1 else None
    if info is None:
        return 0
    for name in TORCHRUN:
        os.environ.pop(name, None)  # of a job that started this one
    os.environ.update(info.variables())
    return info.rank


def on_slurm() -> bool:
    """Whether this process is a task of a SLURM job."""
    return os.environ.get("SUBMITIT_EXECUTOR") == "slurm"


def current_job_id() -> str:
    """The id in the record of this job's submission: SLURM's, or a process id on this machine.

    Of an array's element it is ``100_3``: the number of the last element alone would mean the whole array.
    """
    if on_slurm():  # and not on this machine, in a job of the user's own
        array = os.environ.get("SLURM_ARRAY_JOB_ID")
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    return os.environ.get("SUBMITIT_LOCAL_JOB_ID") or str(os.getpid())


def requeue(rank: int, record_end: Callable) -> None:
    """Put this SLURM job back in the queue and end.

    Not where SLURM is already taking the job away: a job that its user cancelled must not rise again, and one that
    is preempted is requeued by SLURM itself. A controller that does not answer is asked until it does.
    """
    if shutil.which("scontrol") is None:  # in a container: the batch script asks for it, by this exit code
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of srun, when the first of several tasks has ended like this
        print("interrupted; the job goes back into the queue and will resume", file=sys.stderr, flush=True)
        sys.exit(128 + (stopping.latest_signal or signal.SIGUSR2))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # submitit would let it pass, and SLURM wait until it kills
    job_id = current_job_id()
    if rank:
        wait_for_requeue(job_id)
        sys.exit(INTERRUPTED)
    end = time.monotonic() + PATIENCE_S
    while True:
        state = state_of(job_id)
        if state not in RUNS:
            timed_out = "Reason=TimeLimit" in ask("scontrol", "--oneliner", "show", "job", job_id).stdout.split()
            what = (
                "at its time limit and goes back into the queue" if timed_out else f"{state.lower()} and left to SLURM"
            )
            print(f"interrupted; job {job_id} is {what}", file=sys.stderr, flush=True)
            if timed_out:  # while it saved; if SLURM has it in the queue again already, it refuses, which is as well
                ask("scontrol", "requeue", job_id)
            break
        if another_task_failed(job_id):
            print(f"error: {rendezvous.lost()}", file=sys.stderr, flush=True)
            record_end(1, rendezvous.lost(), lost_task=True)
            break
        print(f"interrupted; job {job_id} goes back into the queue and will resume", file=sys.stderr, flush=True)
        answer = ask("scontrol", "requeue", job_id)
        if answer.returncode == 0:
            break
        fault = " ".join(answer.stderr.split())
        if time.monotonic() > end:
            print(f"error: job {job_id} saved but cannot be requeued ({fault}); submit it again", file=sys.stderr)
            break
        print(f"SLURM does not take it back yet: {fault}", file=sys.stderr, flush=True)
        time.sleep(RETRY_S)
    sys.exit(INTERRUPTED)


def wait_for_requeue(job_id: str) -> None:
    """Wait: the requeue by rank 0 ends every task, and going first would make srun end rank 0.

    In a job that SLURM itself is ending srun ends no task; one that stayed would hold the node until it is killed.
    """
    end, pause = time.monotonic() + PATIENCE_S, RETRY_S
    while time.monotonic() < end:
        time.sleep(pause)
        if state_of(job_id) not in RUNS:
            return
        pause = POLL_S


def state_of(job_id: str) -> str:
    """RUNNING, COMPLETING...; empty where SLURM does not say."""
    return ask("squeue", "--noheader", "--format=%T", f"--jobs={job_id}").stdout.strip()


def another_task_failed(job_id: str) -> bool:
    """Whether it was srun that ended this task, because another one failed; queued again, it would fail for ever.

    That is a SIGTERM, as a preemption is; but of a preemption SLURM knows.
    """
    if stopping.latest_signal != signal.SIGTERM or int(os.environ.get("SLURM_NTASKS", 1)) == 1:
        return False
    shown = ask("scontrol", "--oneliner", "show", "job", job_id)
    return shown.returncode == 0 and not re.search(r"\bPreemptTime=\d", shown.stdout)


def ask(*command: str) -> subprocess.CompletedProcess:
    """What a command of SLURM answers; one that says nothing in time has failed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, stdout="", stderr=f"{command[0]} gave no answer in 60 s")
