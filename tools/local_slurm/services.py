"""Programs in the background: started with a log and a record of their process, ended by that record alone."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from runtime.command_line import UserError
from runtime.parent_watch import started
from tools.local_slurm import CONF, FOLDER


def start(name: str, *command: object, ready: Callable[[], bool], within_s: float = 30.0) -> None:
    """Start a program unless it runs, and wait until it is ``ready``.

    Raises UserError with the last line of its log where it ends, or is not ready in time.
    """
    log = FOLDER / "log" / f"{name}.out"
    if not running(name):
        environment = {**os.environ, "SLURM_CONF": str(CONF), "MYSQL_UNIX_PORT": str(FOLDER / "mariadb.socket")}
        with log.open("ab") as file:
            process = subprocess.Popen(
                list(map(str, command)),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        record(name).write_text(f"{process.pid} {started(process.pid)}", encoding="utf-8")
    end = time.monotonic() + within_s
    while not ready():
        if not running(name) or time.monotonic() > end:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
            raise UserError(f"{name} did not come up ({lines[-1]}); see {log}")
        time.sleep(0.1)


def stop(name: str, *, wait_s: float = 15.0) -> None:
    """End a program that `start` started: SIGTERM, and SIGKILL where that does not end it."""
    if pid := running(name):
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + wait_s
        while running(name) and time.monotonic() < end:
            time.sleep(0.05)
        if running(name):
            os.kill(pid, signal.SIGKILL)
    record(name).unlink(missing_ok=True)


def running(name: str) -> int:
    """The process id of a program that `start` started; 0 if it runs no more."""
    try:
        pid, then = record(name).read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return 0
    with contextlib.suppress(ChildProcessError):
        os.waitpid(int(pid), os.WNOHANG)  # a child of ours that has ended is a zombie until it is waited for
    return int(pid) if started(int(pid)) == then else 0


def record(name: str) -> Path:
    """The file that holds the process of a service."""
    return FOLDER / f"{name}.process"


def names() -> list[str]:
    """The programs that have a record."""
    return [path.stem for path in FOLDER.glob("*.process")]


def end_jobs() -> None:
    """Kill what jobs of this cluster left running: processes whose environment names it and a job."""
    variable = f"SLURM_CONF={CONF}".encode()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            variables = (process / "environ").read_bytes().split(b"\0")
            step = (process / "cmdline").read_bytes().startswith(b"slurmstepd")
            if variable in variables and (step or any(v.startswith(b"SLURM_JOB_ID=") for v in variables)):
                os.kill(int(process.name), signal.SIGKILL)


def answers(*command: str) -> bool:
    """Whether a command ends well, within ten seconds."""
    environment = {**os.environ, "SLURM_CONF": str(CONF)}
    try:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
