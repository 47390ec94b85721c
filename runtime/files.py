"""Files that are either whole or not there: written under a temporary name, then renamed."""

import contextlib
import fnmatch
import glob
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.command_line import UserError

DAY_S = 86_400


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it becomes ``path`` in one step, on failure it goes.

    The data is on the disk before the rename, so a machine that dies leaves the old file or the new one. What a
    process that was killed while it wrote ``path`` has left is removed by the next one that writes it.
    Raises UserError where the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_strays(path)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another folder, or repair this one") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _remove_strays(path: Path) -> None:
    """Remove the temporary files of ``path`` whose writer is dead: of this host, or not written to for a day."""
    with contextlib.suppress(OSError):
        for stray in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            host, _, pid = stray.name.removeprefix(f".{path.name}.").removesuffix(".tmp").rpartition("-")
            here = host == socket.gethostname() and pid.isdecimal()
            if (here and not is_alive(int(pid))) or time.time() - stray.stat().st_mtime > DAY_S:
                stray.unlink(missing_ok=True)


def is_alive(pid: int) -> bool:
    """Whether a process of this host exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` as a whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value) -> None:
    """Write ``value`` as indented JSON to ``path`` as a whole; NaN is refused, because JSON has none."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def listed(folder: str | Path, pattern: str) -> list[Path]:
    """The files of a folder whose names fit ``pattern``, shorter names first; none where the folder is gone.

    `Path.glob` fails where the folder is removed while it looks.
    """
    try:
        names = fnmatch.filter(os.listdir(folder), pattern)
    except OSError:
        return []
    return [Path(folder, name) for name in sorted(names, key=lambda name: (len(name), name))]
