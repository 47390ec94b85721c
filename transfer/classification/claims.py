"""What a probe's run is: kept in its folder, so that no other run continues or overwrites it unnoticed."""

import json
from pathlib import Path

from pretrain import distributed
from pretrain.command_line import UserError
from pretrain.files import write_json

FILE = "run.json"
BEGUN = ("checkpoint.pth", "result.json")


def claim(folder: Path, identity: dict) -> None:
    """Make ``folder`` the folder of the run with this ``identity`` (flat, plain values); it stays so if it was before.

    A run that left neither checkpoint nor result has no claim. Raises UserError that names what differs if another
    run's are there.
    """
    path = folder / FILE
    begun = [name for name in BEGUN if (folder / name).exists()]
    if begun and not path.exists():
        raise UserError(f"{folder} holds a {begun[0]} of unknown origin (no {FILE}); choose another --out")
    if begun:
        there = json.loads(path.read_text(encoding="utf-8"))
        differing = [
            f"{key} (there {_short(there.get(key))}, here {_short(identity.get(key))})"
            for key in sorted(there.keys() | identity.keys())
            if there.get(key) != identity.get(key)
        ]
        if differing:
            raise UserError(f"{folder} is the folder of another run: {'; '.join(differing)}; choose another --out")
    distributed.barrier()  # every rank has looked before the first one writes
    if distributed.is_main():
        write_json(path, identity)


def _short(value) -> str:
    """A hash by its first digits."""
    return value[:12] if isinstance(value, str) and len(value) == 64 else repr(value)
