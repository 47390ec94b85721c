"""Kill a command with SIGKILL at chosen events of the file system below a folder, and give it again.

    python kills.py MODULE FOLDER KILLED... -- ARGUMENT...

starts ``MODULE.main(ARGUMENTS)`` once for each number of KILLED, and kills that start at its event of that number (an
open, rename, remove, mkdir, rmdir, link, truncate or fsync below FOLDER); then once more, undisturbed. One line of json
says how many starts were killed, and how many events the last start had. Imports are done once: a start is a fork.
"""

import importlib
import json
import os
import signal
import sys

del sys.path[0]  # this folder, whose pretrain/ and transfer/ would stand before the packages of these names

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def count_events(folder: str, kill_at: int, report: int) -> None:
    """Write a byte to ``report`` for each event below ``folder``; die at event ``kill_at`` (0: never)."""
    seen, fsync = 0, os.fsync

    def note() -> None:
        nonlocal seen
        seen += 1
        os.write(report, b".")
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple) -> None:
        path = arguments[0] if event in EVENTS and arguments else None
        if isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(folder):
            note()

    def counted_fsync(descriptor: int) -> None:
        note()
        fsync(descriptor)

    sys.addaudithook(hook)
    os.fsync = counted_fsync


def start(main, arguments: list[str], folder: str, kill_at: int) -> tuple[int, int]:
    """Run ``main`` in a fork; its status (negative: killed) and how many events it had."""
    readable, report = os.pipe()
    child = os.fork()
    if not child:
        os.close(readable)
        count_events(folder, kill_at, report)
        code = 1
        try:
            code = main(arguments) or 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(report)
    events = 0
    while block := os.read(readable, 65536):
        events += len(block)
    os.close(readable)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), events


def run() -> None:
    module, folder = sys.argv[1:3]
    split = sys.argv.index("--")
    kills, arguments = [int(number) for number in sys.argv[3:split]], sys.argv[split + 1 :]
    main = importlib.import_module(module).main
    for heavy in filter(None, os.environ.get("IMPORTED_FIRST", "").split(",")):
        importlib.import_module(heavy)
    sys.stdout.flush()
    killed = 0
    for kill_at in kills:
        status, _ = start(main, arguments, folder, kill_at)
        killed += status == -signal.SIGKILL
        assert status in (0, -signal.SIGKILL), status
    status, events = start(main, arguments, folder, 0)
    print(json.dumps({"killed": killed, "status": status, "events": events}))


if __name__ == "__main__":
    run()
