"""Kill -9 at an event of the file system, and the same again: the files are those of a run that nothing disturbed.

    python kills.py MODULE OUT TRIES -- ARGUMENT...

does that with the command ``MODULE.main(ARGUMENTS)``, which writes below the folder OUT, in a process of its own; it
prints one line of json: how many events an undisturbed run has, how many kills were tried, and what went wrong. Imports
are done once (also those that IMPORTED_FIRST names): a start is a fork.

An event is an open, rename, remove, mkdir, rmdir, link, truncate or fsync below OUT. TRIES of them are tried, evenly
over the run; all of them with FULL_KILLS=1 in the environment, and every fifth from the second on with FULL_KILLS=2/5.
"""

import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    del sys.path[0]  # this folder, whose pretrain/ and transfer/ would stand before the packages of these names

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}

CLOCK = {"images_per_s", "wall_s", "time", "data_time", "rank_data_time", "eta_seconds"}
CLOCK |= {"data_wait", "step_images_per_s", "loader_images_per_s"}
"""Keys of json files whose values are measured in seconds."""

SMOOTHED = "metrics.json"
"""Detectron2's curves: medians over the last 20 iterations of one start, so only their iterations come out the same."""

UNTOLD = re.compile(r"tfevents|log\.txt")
"""Files of which neither name nor content need come out the same: they tell of every start."""


def start(function: Callable[[], Any], below: Path, *, kill_at: int = 0, log: Path | None = None) -> tuple[int, int]:
    """Run ``function`` in a fork, killed before its ``kill_at``-th event below a folder (0: never).

    Returns (exit code, or minus the signal; events seen). What the fork prints goes to ``log``.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _run(function, os.fspath(below), kill_at, writing, log)
    os.close(writing)
    events = 0
    while block := os.read(reading, 65536):
        events += len(block)
    os.close(reading)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), events


def _run(function: Callable[[], Any], below: str, kill_at: int, writing: int, log: Path | None) -> None:
    """The child: it never returns."""
    output = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1), os.dup2(output, 2)
    seen, real_fsync = 0, os.fsync

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

    def fsync(descriptor: int) -> None:
        event()
        real_fsync(descriptor)

    sys.addaudithook(hook)
    os.fsync = fsync
    code = 99
    try:
        answer = function()
        code = answer if isinstance(answer, int) else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


def content(folder: Path) -> dict[str, Any]:
    """Every file below a folder by its name: what must be the same, to the bit; no times, no dates."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not UNTOLD.search(path.name))
    return {str(path.relative_to(folder)): _content(path) for path in files}


def _content(path: Path) -> Any:
    if path.suffix == ".pth":
        import torch

        digest = hashlib.sha256()
        _hash(torch.load(path, weights_only=True, map_location="cpu"), digest.update)
        return digest.hexdigest()
    if path.suffix in (".json", ".jsonl"):
        text = path.read_text()
        if not text:
            return "empty"
        values = [json.loads(line) for line in text.splitlines()] if _is_lines(text) else json.loads(text)
        if path.name == SMOOTHED:
            return [line["iteration"] for line in ([values] if isinstance(values, dict) else values)]
        return _without_clock(values)
    if path.suffix == ".html":
        return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "", path.read_text())
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_lines(text: str) -> bool:
    first = text.partition("\n")[0]
    return first.startswith("{") and first.endswith("}") and "\n" in text.strip()


def _hash(value: Any, update: Callable[[bytes], None]) -> None:
    """Feed a nest of tensors and plain values to a hash, in an order of its own."""
    import torch

    if isinstance(value, torch.Tensor):
        update(str((value.dtype, tuple(value.shape))).encode())
        update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    elif isinstance(value, dict):
        for key in sorted(value, key=str):
            if key not in CLOCK:
                update(str(key).encode())
                _hash(value[key], update)
    elif isinstance(value, (list, tuple)):
        for each in value:
            _hash(each, update)
    else:
        update(repr(value).encode())


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_clock(each) for key, each in value.items() if key not in CLOCK}
    return [_without_clock(each) for each in value] if isinstance(value, list) else value


def chosen(events: int, tries: int) -> list[int]:
    """The events that are tried, of 1 .. ``events``."""
    if full := os.environ.get("FULL_KILLS"):
        first, _, step = full.partition("/")
        return list(range(int(first), events + 1, int(step or 1)))
    return sorted({1 + (events - 1) * number // max(1, tries - 1) for number in range(tries)})


def campaign(function: Callable[[], Any], out: Path, tries: int) -> dict[str, Any]:
    """Kill ``function``, which writes below ``out``, at its events, one start for each; run it again, and compare.

    Returns {events, tried, faults}. The second run must end well, with the files of an undisturbed run and no other.
    """
    log = out.with_name(f"{out.name}.log")
    status, events = start(function, out, log=log)
    if status != 0 or not events:
        return {"events": events, "tried": 0, "faults": [f"undisturbed: exit {status}: {_tail(log)}"]}
    wanted, faults, numbers = content(out), [], chosen(events, tries)
    for number in numbers:
        shutil.rmtree(out)
        killed, _ = start(function, out, kill_at=number, log=log)
        again, _ = start(function, out, log=log) if killed == -signal.SIGKILL else (killed, 0)
        if again != 0 or killed == 0:
            faults.append(f"event {number}: exit {killed}, then {again}: {_tail(log)}")
            out.mkdir(exist_ok=True)
            continue
        found = content(out)
        if other := sorted(name for name in {*found, *wanted} if found.get(name) != wanted.get(name)):
            faults.append(f"event {number}: other {', '.join(other)}")
    return {"events": events, "tried": len(numbers), "faults": faults}


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-600:]


def survives(function: Callable[[Path], Any], folder: Path, *, tries: int = 6) -> int:
    """Assert that ``function(out)`` survives kills, in forks of this process; how many were tried."""
    answer = campaign(lambda: function(folder / "run"), folder / "run", tries)
    assert not answer["faults"], answer
    return answer["tried"]


def run() -> None:
    module, out, tries = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    arguments = sys.argv[sys.argv.index("--") + 1 :]
    main = importlib.import_module(module).main
    for heavy in filter(None, os.environ.get("IMPORTED_FIRST", "").split(",")):
        importlib.import_module(heavy)
    print(json.dumps(campaign(lambda: main(arguments), out, tries)))


if __name__ == "__main__":
    run()
