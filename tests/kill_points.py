"""Kill -9 at any event of the file system: a fork runs a function and dies before its n-th event below a folder."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}


def forked(function: Callable[[], object], below: Path, *, kill_at: int = 0) -> tuple[int, int]:
    """Run ``function`` in a fork, killed before the ``kill_at``-th event below a folder (0: never).

    Returns (exit code, or minus the signal; events seen). Every fsync of the process counts as an event too.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _run(function, os.fspath(below), kill_at, writing)
    os.close(writing)
    events = 0
    while block := os.read(reading, 65536):
        events += len(block)
    os.close(reading)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), events


def _run(function: Callable[[], object], below: str, kill_at: int, writing: int) -> None:
    """The child: it never returns."""
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    seen = 0

    def event() -> None:
        nonlocal seen
        seen += 1
        os.write(writing, b".")
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(name: str, arguments: tuple) -> None:
        path = arguments[0] if name in EVENTS and arguments else None
        if isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(below):
            event()

    sys.addaudithook(hook)
    real_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        event()
        real_fsync(descriptor)

    os.fsync = fsync
    try:
        function()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(99)


def content(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its name, for a comparison bit by bit."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def survives(function: Callable[[Path], object], folder: Path, *, tries: int = 6) -> int:
    """Kill ``function(out)`` at its events, run it again, and compare with a run that nothing disturbed.

    Asserts that the second run ends well with the same files to the byte and leaves no other. Returns how many kills
    were tried: ``tries`` of them evenly over the events, or every one if the environment has FUZZ_EXAMPLES.
    """
    calm = folder / "calm"
    code, events = forked(lambda: function(calm), calm)
    assert code == 0 and events > 0
    wanted = content(calm)
    tried = 0
    step = 1 if "FUZZ_EXAMPLES" in os.environ else max(1, events // tries)
    for at in range(1, events + 1, step):
        out = folder / f"killed-{at}" / "calm"  # the same name, for files that say where they are
        killed, _ = forked(lambda out=out: function(out), out, kill_at=at)
        assert killed == -signal.SIGKILL, f"event {at} of {events}: exit {killed}"
        code, _ = forked(lambda out=out: function(out), out)
        assert code == 0, f"killed at event {at} of {events}: the same command ends with {code}"
        assert content(out) == wanted, f"killed at event {at} of {events}: other files"
        tried += 1
    return tried
