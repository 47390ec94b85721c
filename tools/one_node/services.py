"""Programs in the background: started with a log and a record of who they are, ended by that record alone."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from runtime.command_line import UserError
from tools.one_node import CONF, FOLDER


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
        record(name).write_text(f"{process.pid} {began(process.pid)}", encoding="utf-8")
    end = time.monotonic() + within_s
    while not ready():
        if not running(name) or time.monotonic() > end:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"]
            raise UserError(f"{name} did not come up ({lines[-1]}); see {log}")
        time.sleep(0.1)


def stop(name: str, *, wait_s: float = 15.0) -> None:
    """End a program that `start` started: SIGTERM, and SIGKILL to one that does not heed it."""
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
        os.waitpid(int(pid), os.WNOHANG)  # a child of ours that has ended is a zombie until somebody asks
    return int(pid) if began(int(pid)) == then else 0


def record(name: str) -> Path:
    return FOLDER / f"{name}.process"


def names() -> list[str]:
    """The programs that have a record."""
    return [path.stem for path in FOLDER.glob("*.process")]


def began(pid: int) -> str:
    """When a process began, in clock ticks: with its id it is the process and no later one; empty without it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def end_jobs() -> None:
    """Kill what jobs of this cluster left running: processes that SLURM_CONF and a job's number give away."""
    mine = f"SLURM_CONF={CONF}".encode()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            variables = (process / "environ").read_bytes().split(b"\0")
            step = (process / "cmdline").read_bytes().startswith(b"slurmstepd")
            if mine in variables and (step or any(v.startswith(b"SLURM_JOB_ID=") for v in variables)):
                os.kill(int(process.name), signal.SIGKILL)


def answers(*command: str) -> bool:
    """Whether a command ends well, within ten seconds."""
    environment = {**os.environ, "SLURM_CONF": str(CONF)}
    try:
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
