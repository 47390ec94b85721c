"""What is seen of jobs while they run: a moving line on a terminal, timed lines in a file."""

import contextlib
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from runtime import job_records
from runtime.command_line import UserError, printable
from runtime.progress import Snapshot, duration


class View:
    """Reports on stderr; ``names`` are all the jobs of the graph in order, so that a line can say 3/6."""

    def __init__(self, names: Sequence[str], *, every_s: float = 30.0):
        self.numbers = {name: f"[{k}/{len(names)}] {name}" for k, name in enumerate(names, start=1)}
        self.terminal = sys.stderr.isatty()
        self.every_s = every_s
        self.last: dict[str, tuple[float, str]] = {}

    def say(self, name: str, text: str) -> None:
        """A line that stays, e.g. ``done in 3:20``."""
        self.last[name] = (time.monotonic(), "")
        clear, clock = ("\r\x1b[K", "") if self.terminal else ("", time.strftime("%H:%M:%S "))
        self.print(f"{clear}{clock}{printable(f'{self.numbers[name]}: {text}')}\n")

    def show_progress(self, name: str, seconds: float, home: Path, others: int = 0) -> None:
        """How far a running job is, by the record in its folder ``home``, when a line is due."""
        text = progress_of(home)
        if self.terminal:
            more = f" and {others} more" if others else ""
            line = printable(f"{self.numbers[name]}{more}  {duration(seconds)}  {text}")
            self.print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}")
            return
        now = time.monotonic()
        printed_at, printed = self.last[name]
        if text and text != printed and now - printed_at >= self.every_s:
            self.say(name, text)
            self.last[name] = (now, text)

    def print(self, text: str) -> None:
        """A terminal that is gone must not end what it showed."""
        with contextlib.suppress(OSError):
            print(text, end="", file=sys.stderr, flush=True)


def progress_of(home: Path) -> str:
    """How far a job is, in one line; empty where it has not recorded it."""
    with contextlib.suppress(UserError):
        snapshot = job_records.read(home, Snapshot)
        return str(snapshot) if snapshot else ""
    return ""


def tail(logs: Sequence[Path], lines: int = 15) -> list[str]:
    """The last lines of the first log that says anything of its own; a log may go while it is read."""
    for path in logs:
        try:
            with path.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - 16384))
                text = file.read().decode(errors="replace")
        except OSError:
            continue
        own = [line for line in re.split(r"[\r\n]+", text) if line.strip() and not line.startswith("submitit ")]
        if own:
            return own[-lines:]
    return []
