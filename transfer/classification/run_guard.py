"""What a classification run is: kept in its folder, so that no other run continues or overwrites it unnoticed."""

import sys
from pathlib import Path

from pretrain import backbones
from runtime import distributed, run_guard
from runtime.command_line import printable, shortened
from runtime.results import DamagedResult, NoResult, read_result
from transfer.backbones import USUAL

CHECKPOINT = "checkpoint.pth"


def claim(folder: Path, identity: dict) -> None:
    """Make ``folder`` the folder of the run with this ``identity`` (flat, plain values); it stays so if it was before.

    A run that left neither checkpoint nor result has no claim. Raises UserError that names what differs if another
    run's are there.
    """
    guard_of(folder).claim(identity)


def guard_of(folder: Path) -> run_guard.RunGuard:
    """The guard of a classification run's folder."""
    before = {"features": USUAL, "network": backbones.USUAL}  # of runs from before there was a choice
    return run_guard.RunGuard(folder=folder, outputs=(CHECKPOINT, "result.json"), defaults=before)


def is_complete(folder: Path) -> bool:
    """Whether the result of the run is there and whole, which is printed; a damaged one is named, and made again.

    The checkpoint of a complete run goes: a run that was killed at its very end has left it.
    """
    path = folder / "result.json"
    try:
        read_result(path)
    except NoResult:
        return False
    except DamagedResult as error:
        if distributed.is_main():
            print(f"note: {printable(shortened(error.faults[0]))}; it is made again", file=sys.stderr)
        return False
    if distributed.is_main():
        (folder / CHECKPOINT).unlink(missing_ok=True)
        print(f"done already: {path}")
    return True
