"""Which code made a number: the commit of the checkout, and a hash of what differed from it."""

import functools
import hashlib
import json
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("runtime", "pretrain", "transfer", "language", "analysis", "slurm")

SNAPSHOT = ROOT / "snapshot.json"
"""Beside the packages in a copy of the code that jobs run: what the checkout was when it was copied."""

GIVEN = "given"
"""Folder in such a copy: the files of the user's own that the jobs read, a recipe."""


@functools.cache
def commit() -> str:
    """Twelve digits of the commit; where the packages differ from it, ``+`` and eight digits of a hash of the changes.

    ``unknown`` outside git. In a copy of the code, what this was when the copy was made.
    """
    if SNAPSHOT.exists():
        return json.loads(SNAPSHOT.read_text(encoding="utf-8"))["commit"]
    try:
        head = git("rev-parse", "--short=12", "HEAD").strip()
        changes = git("diff", "HEAD", "--binary", "--", *PACKAGES)
        new = git("ls-files", "--others", "--exclude-standard", "--", *PACKAGES).splitlines()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    if not changes and not new:
        return head
    digest = hashlib.sha256(changes.encode(errors="surrogateescape"))
    for name in new:
        digest.update(name.encode() + (ROOT / name).read_bytes())
    return f"{head}+{digest.hexdigest()[:8]}"


def files() -> list[Path]:
    """The files of the packages, relative to ROOT: what git knows or would add; outside git, all that are there."""
    try:
        names = git("ls-files", "--cached", "--others", "--exclude-standard", "--", *PACKAGES).splitlines()
        found = [Path(name) for name in names if (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        found = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.*")]
    return sorted(path for path in found if "__pycache__" not in path.parts and (ROOT / path).is_file())


def copy_of(path: str | Path) -> Path:
    """Where a file of the user's own, as a command names it, lies in a copy of the code; relative to that."""
    return Path(GIVEN) / f"{hashlib.sha256(str(Path(path)).encode()).hexdigest()[:8]}-{Path(path).name}"


def as_submitted(path: Path) -> Path:
    """The file as it was when the job that runs here was submitted; the file itself where no copy was kept."""
    copy = ROOT / copy_of(path)
    return copy if copy.exists() else path


def git(*arguments: str) -> str:
    """What git says in the checkout. Raises OSError or CalledProcessError where there is no git or no checkout."""
    command = ["git", "-C", str(ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", check=True).stdout
