"""A limit on what reading one file may allocate: a few bytes of a pickle can ask for any amount."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from runtime.command_line import UserError

HEADROOM_BYTES = 256 << 20
"""What reading a file may take besides what is in it: modules that are imported on the way, a pickle's objects."""

STATUS = Path("/proc/self/status")


def size_bytes(path: str | Path) -> int:
    """The size of a file, or of the files in a folder."""
    path = Path(path)
    files = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


@contextlib.contextmanager
def growth_limited(path: str | Path, *, times: int = 4) -> Iterator[None]:
    """Raise UserError once the process, inside the block, has allocated far more than ``path`` holds.

    So many ``times`` its size and 256 MiB are allowed. Without effect where the system does not tell or limit what a
    process has allocated (anything but Linux), and in one that has a lower limit already.
    """
    try:
        import resource

        allocated = re.search(r"^VmData:\s*(\d+) kB", STATUS.read_text(), re.MULTILINE)
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    except (ImportError, OSError):
        allocated, soft, hard = None, 0, 0
    if allocated is None:
        yield
        return
    limit = (int(allocated[1]) << 10) + times * size_bytes(path) + HEADROOM_BYTES
    limit = min([limit, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    except MemoryError as error:
        raise UserError(f"{path} asks for far more memory than it holds itself, and was not read") from error
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
