"""One line in /etc/hosts: jobs meet at the name of their first node, so the names of the nodes must resolve."""

from pathlib import Path

from tools.local_slurm import NODES

HOSTS = Path("/etc/hosts")
LINE = f"127.0.0.1 {' '.join(NODES)}  # local-slurm\n"


def add() -> None:
    """Add the line, once."""
    text = HOSTS.read_text(encoding="utf-8")
    if LINE not in text:
        # Written in place: in a container the file is mounted and cannot be replaced by another.
        HOSTS.write_text(text + ("" if text.endswith("\n") or not text else "\n") + LINE, encoding="utf-8")


def remove() -> None:
    """Take the line out again and leave the others as they are."""
    text = HOSTS.read_text(encoding="utf-8")
    if LINE in text:
        HOSTS.write_text(text.replace(LINE, ""), encoding="utf-8")
