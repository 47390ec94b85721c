"""One run at a time writes in a folder: a lock file is held while it writes.

The lock is the operating system's: it goes with its process, however that ends, and holds on every node that shares the
file system. No torch here.
"""

import atexit
import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from runtime.command_line import UserError
from runtime.files import is_alive
from runtime.read import parse_json

LOCK = ".lock"

OTHER_NODE_S = 100.0
"""How long a lock of another node is waited for: a file server keeps that of a node that died for 90 s."""

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system without locks answers."""

_held: dict[Path, TextIO] = {}


def lock(folder: Path, *, wait: bool = False) -> None:
    """Hold ``folder`` for this process, until `release`; a process that holds it already goes on holding it.

    Args:
        wait: for the process that holds it, however long that takes.

    Raises UserError that names the process that holds it, after OTHER_NODE_S if that runs on another node.
    """
    key, began, told = _key(folder), time.monotonic(), False
    while key not in _held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / LOCK).open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write in {folder}: {error.strerror}; choose another --out") from error
        holder = _try(file)
        if holder is None and _same(file, folder / LOCK):
            with contextlib.suppress(OSError):  # a full disk: whom to name, no more; what matters is said when written
                file.truncate(0)
                file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
                file.flush()
            _held[key] = file
            return
        file.close()
        if holder is None:  # the process before this one removed the file that it held: try again
            continue
        host, pid = holder
        if not wait and (host == socket.gethostname() or time.monotonic() - began > OTHER_NODE_S):
            raise UserError(
                f"{folder} is in use by another run (process {pid} on {host}); wait for its end, or give another --out"
            )
        if not told:
            told = True
            print(f"waiting for process {pid} on {host}, which holds {folder}", file=sys.stderr)
        time.sleep(0.5 if wait else 2)


def release(folder: Path) -> None:
    """Give up a folder, if this process holds it."""
    file = _held.pop(_key(folder), None)
    if file:
        with contextlib.suppress(OSError):
            if _same(file, folder / LOCK):
                (folder / LOCK).unlink()
            file.close()


def release_all() -> None:
    """Give up every folder that this process holds."""
    for folder in list(_held):
        release(folder)


@contextlib.contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold ``folder`` inside the block, as `lock` does."""
    lock(folder, wait=wait)
    try:
        yield
    finally:
        release(folder)


def check_held(folder: Path) -> None:
    """Raise UserError if the folder that this process holds was removed, or replaced by another, since."""
    file = _held.get(_key(folder))
    if file and not _same(file, folder / LOCK):
        raise UserError(f"{folder} was removed or replaced while this run wrote in it; give the same command again")


def litter(folder: Path) -> list[Path]:
    """What processes that were killed have left in a folder: files half written, and a lock file."""
    return [*folder.glob(".*.tmp"), *folder.glob(LOCK)]


def sweep(folder: Path) -> None:
    """Remove what killed processes have half written, from a folder that this process holds."""
    for path in folder.glob(".*.tmp"):
        with contextlib.suppress(OSError):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _try(file: TextIO) -> tuple[str, int] | None:
    """None if the lock is this process's now; else host and number of the process that has it."""
    try:
        # Not flock: a loader process that outlives its parent would inherit that. These are of one process alone.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    except OSError as error:
        file.seek(0)
        holder = _holder(file.read(1000))
        if error.errno not in NO_LOCKS:
            return holder or ("an unknown node", 0)
        # No locks on this file system: the best that can be known is whether a process of this node is alive.
        if holder and holder[0] == socket.gethostname() and holder[1] != os.getpid() and is_alive(holder[1]):
            return holder
        return None


def _holder(text: str) -> tuple[str, int] | None:
    try:
        content = parse_json(text, LOCK)
        return str(content["host"]), int(content["pid"])
    except (UserError, LookupError, TypeError, ValueError):
        return None


def _same(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def _key(folder: Path) -> Path:
    return Path(os.path.abspath(folder))


atexit.register(release_all)
os.register_at_fork(after_in_child=_held.clear)  # the locks stay the parent's
