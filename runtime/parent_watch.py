"""A process that was started for another one saves and ends soon after that one was killed."""

import os
import signal
import threading
import time
from pathlib import Path

VARIABLE = "RUN_PROCESS"
"""Environment variable with the process to watch: its number and its start, as numbers are used again."""

POLL_S, GRACE_S = 0.5, 3.5
"""How often to look, and the time a process then has to save."""


def variables() -> dict[str, str]:
    """The environment of processes that are to end when this one does."""
    return {VARIABLE: f"{os.getpid()} {started(os.getpid())}"}


def started(process: int) -> str:
    """When a process started, in the system's own ticks; empty if it has ended."""
    try:
        state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except (OSError, ValueError, IndexError):
        return ""


def start() -> None:
    """Watch the process that the environment names, if it names one, and this process's parent."""
    number, _, ticks = os.environ.get(VARIABLE, "").partition(" ")
    if number.isdigit() and ticks:
        watch = threading.Thread(target=_watch, args=(int(number), ticks, os.getppid()), daemon=True)
        watch.start()


def end_with_parent() -> None:
    """End this process at once when the one that started it is gone: torch's loader processes look every 5 s only."""

    def watch(parent: int) -> None:
        while os.getppid() == parent:
            time.sleep(POLL_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, args=(os.getppid(),), daemon=True).start()


def _watch(process: int, ticks: str, parent: int) -> None:
    while started(process) == ticks and os.getppid() == parent:
        time.sleep(POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os.kill(os.getpid(), signal.SIGKILL)
