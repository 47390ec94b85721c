"""Progress with an ETA: one moving line on a terminal, timed lines in a log file, and a record for other programs."""

import contextlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

RECORD_EVERY_S = 5.0
"""Seconds between two records."""

record_path: Path | None = None
"""Where every `Progress` of this process records how far it is; a job sets it. None: nowhere."""


def duration(seconds: float) -> str:
    """``73`` -> ``1:13``, ``4000`` -> ``1:06:40``."""
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """How far a process is."""

    label: str
    """What it does."""

    done: int
    total: int
    elapsed_s: float
    """Since this process began."""

    eta_s: float | None = None
    """Until the end; None where its pace is not known yet."""

    first_done: int = 0
    """Units done at its first report, and the seconds until then: what comes before is no steady pace."""

    first_elapsed_s: float = 0.0
    note: str = ""

    limit: str = ""
    """What limits its pace, and the setting that would change that; empty where it is not known."""

    def __str__(self) -> str:
        eta = "?" if self.eta_s is None else duration(self.eta_s)
        line = f"{self.label} {self.done}/{self.total} ({self.done / max(self.total, 1):.0%})"
        return f"{line}  {duration(self.elapsed_s)} gone, {eta} to go" + (f"  {self.note}" if self.note else "")


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
        self.printed_at = self.recorded_at = -float("inf")
        self.first: tuple[int, float] | None = None

    def update(self, done: int, note: str = "", limit: str = "") -> None:
        """Say that ``done`` units are finished; prints and records only when due. ``limit`` is for the record."""
        if self.quiet:
            return
        now = time.monotonic()
        self.first = self.first or (done, now - self.began)
        due = done >= self.total
        if record_path is not None and (due or now - self.recorded_at >= RECORD_EVERY_S):
            self.recorded_at = now
            self.record(record_path, replace(self.snapshot(done, note, now), limit=limit))
        if due or now - self.printed_at >= self.every_s:
            self.printed_at = now
            self.print(self.snapshot(done, note, now))

    def snapshot(self, done: int, note: str, now: float) -> Snapshot:
        elapsed, new = now - self.began, done - self.start
        first_done, first_elapsed = self.first or (done, elapsed)
        return Snapshot(
            label=self.label,
            done=done,
            total=self.total,
            elapsed_s=round(elapsed, 3),
            eta_s=round(elapsed / new * (self.total - done), 1) if new > 0 else None,
            first_done=first_done,
            first_elapsed_s=round(first_elapsed, 3),
            note=note,
        )

    def print(self, snapshot: Snapshot) -> None:
        if self.terminal:
            end = "\n" if snapshot.done >= self.total else ""
            print(f"\r\x1b[K{snapshot}", end=end, file=sys.stderr, flush=True)
        else:
            print(f"{time.strftime('%H:%M:%S')} {snapshot}", file=sys.stderr, flush=True)

    def record(self, path: Path, snapshot: Snapshot) -> None:
        """Replace the record as a whole. It may be lost with the machine, and a full disk is no reason to stop."""
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            temporary.write_text(json.dumps(asdict(snapshot)) + "\n", encoding="utf-8")
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
