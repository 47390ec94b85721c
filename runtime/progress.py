"""Progress with an ETA: one moving line on a terminal, timed lines in a log file."""

import sys
import time


def duration(seconds: float) -> str:
    """``73`` -> ``1:13``, ``4000`` -> ``1:06:40``."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


class Progress:
    """Reports ``done`` of ``total`` on stderr; the ETA comes from this run's own pace, not from work resumed.

    Args:
        total: how many units the whole work has.
        label: what the work is, the first word of each line.
        start: units already done before this process began.
        every_s: seconds between two lines where stderr is a file.
        quiet: report nothing (every rank but the first).
    """

    def __init__(self, total: int, label: str, *, start: int = 0, every_s: float = 15.0, quiet: bool = False):
        self.total, self.label, self.start, self.quiet = total, label, start, quiet
        self.terminal = sys.stderr.isatty()
        self.every_s = 0.2 if self.terminal else every_s
        self.began = time.monotonic()
        self.last = -float("inf")

    def update(self, done: int, note: str = "") -> None:
        """Say that ``done`` units are finished; prints only when a line is due."""
        now = time.monotonic()
        if self.quiet or (now - self.last < self.every_s and done < self.total):
            return
        self.last = now
        elapsed = now - self.began
        new = done - self.start
        eta = duration(elapsed / new * (self.total - done)) if new > 0 else "?"
        line = f"{self.label} {done}/{self.total} ({done / max(self.total, 1):.0%})"
        line += f"  {duration(elapsed)} gone, {eta} to go" + (f"  {note}" if note else "")
        if self.terminal:
            end = "\n" if done >= self.total else ""
            print(f"\r\x1b[K{line}", end=end, file=sys.stderr, flush=True)
        else:
            print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)
