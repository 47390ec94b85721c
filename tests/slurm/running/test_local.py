"""A run on this machine when its terminal or its process goes: jobs save, and none stays behind."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from runtime import job_records
from runtime.job_records import Interruption, Submission
from slurm.running import runs_folder

pytestmark = pytest.mark.slow

ROW = "random-seed0/train"
HOME = Path("runs/jobs") / ROW
STEPS = Path("runs") / ROW / "steps.txt"


@pytest.fixture
def start(suite):
    """``start()``: run_all in a process of its own, as a user starts it, with a stage that takes half a minute."""
    processes = []

    def call(*, before: str = "pass", **options) -> subprocess.Popen:
        arguments = ["--cluster", "local", "--methods", "random", "--stage", "train", "train.steps=600"]
        code = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent.parent)!r}); import conftest, pathlib, signal; "
            f"{before}; from runtime.command_line import run; "
            f"run(lambda: conftest.Suite(pathlib.Path.cwd()).main(*{arguments!r}))"
        )
        processes.append(subprocess.Popen([sys.executable, "-c", code], **options))
        wait(steps_taken)
        return processes[-1]

    yield call
    for process in processes:
        process.kill()
        process.wait()


def steps_taken() -> int:
    return int(STEPS.read_text() or 0) if STEPS.exists() else 0


def wait(condition, *, within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def job_process() -> str:
    return job_records.read(HOME, Submission).job_id


def test_a_run_whose_terminal_is_closed_saves(start):
    """The terminal tells every process in it, its jobs too, and cannot be written to any more."""
    master, terminal = pty.openpty()

    def take_terminal():
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)

    process = start(stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True, preexec_fn=take_terminal)
    os.close(terminal)
    os.close(master)
    assert process.wait(timeout=60) == 130
    assert not runs_folder.is_alive(job_process())
    assert job_records.read(HOME, Interruption).job_id == job_process(), "it saved"


def test_a_run_under_nohup_outlives_its_terminal(start):
    process = start(before="signal.signal(signal.SIGHUP, signal.SIG_IGN)", stderr=subprocess.DEVNULL)
    process.send_signal(signal.SIGHUP)
    taken = steps_taken()
    wait(lambda: steps_taken() > taken + 5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 130


@pytest.mark.parametrize("killed", ["run", "controller"])
def test_the_jobs_of_a_killed_process_save_and_end(start, killed):
    process = start(stderr=subprocess.DEVNULL)
    controller = int(job_process())
    tasks = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    os.kill(process.pid if killed == "run" else controller, signal.SIGKILL)
    wait(lambda: not any(map(runs_folder.is_alive, [*tasks, str(controller)])), within_s=15)
    assert steps_taken() < 600
    process.kill()
    process.wait()
    assert not runs_folder.in_use(Path("runs")), "the lock of a dead process blocks no other"
