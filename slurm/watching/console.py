"""What is seen of jobs while they run: a moving line on a terminal, timed lines in a file."""

import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from runtime.progress import duration

CLOCK = re.compile(r"^\d\d:\d\d:\d\d ")


class View:
    """Reports on stderr; ``names`` are all the jobs of the graph in order, so that a line can say 3/6."""

    def __init__(self, names: Sequence[str], *, every_s: float = 30.0):
        self.numbers = {name: f"[{k}/{len(names)}] {name}" for k, name in enumerate(names, start=1)}
        self.terminal = sys.stderr.isatty()
        self.every_s = every_s
        self.last: dict[str, tuple[float, str]] = {}

    def say(self, name: str, words: str) -> None:
        """A line that stays, e.g. ``done in 3:20``."""
        self.last[name] = (time.monotonic(), "")
        clear, clock = ("\r\x1b[K", "") if self.terminal else ("", time.strftime("%H:%M:%S "))
        print(f"{clear}{clock}{self.numbers[name]}: {words}", file=sys.stderr, flush=True)

    def moving(self, name: str, seconds: float, logs: Sequence[Path], others: int = 0) -> None:
        """How far a running job is: its own last words, when a line is due."""
        words = last_words(logs)
        if self.terminal:
            more = f" and {others} more" if others else ""
            line = f"{self.numbers[name]}{more}  {duration(seconds)}  {words}"
            print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True)
            return
        now = time.monotonic()
        said_at, said = self.last[name]
        if words and words != said and now - said_at >= self.every_s:
            self.say(name, words)
            self.last[name] = (now, words)


def last_words(logs: Sequence[Path]) -> str:
    """The last line of progress in the first log, its clock removed; progress is what begins with a clock."""
    lines = [line for line in tail(logs[:1], lines=100) if CLOCK.match(line)]
    return CLOCK.sub("", lines[-1]).strip() if lines else ""


def tail(logs: Sequence[Path], lines: int = 15) -> list[str]:
    """The last lines of the first log that says anything of its own."""
    for path in logs:
        if not path.exists():
            continue
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            text = file.read().decode(errors="replace")
        said = [line for line in re.split(r"[\r\n]+", text) if line.strip() and not line.startswith("submitit ")]
        if said:
            return said[-lines:]
    return []
