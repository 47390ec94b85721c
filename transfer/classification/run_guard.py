"""What a classification run is: kept in its folder, so that no other run continues or overwrites it unnoticed."""

from pathlib import Path

from pretrain import backbones
from runtime import distributed, results, run_guard
from transfer.backbones import USUAL

CHECKPOINT = "checkpoint.pth"

CHECKPOINTS = "checkpoint*.pth"
"""The checkpoints of a run: one, or one for each learning rate (``checkpoint-1.pth``)."""


def claim(folder: Path, identity: dict) -> None:
    """Make ``folder`` the folder of the run with this ``identity`` (flat, plain values); it stays so if it was before.

    A run that left neither checkpoint nor result has no claim. Raises UserError that names what differs if another
    run's are there.
    """
    guard_of(folder).claim(identity)


def guard_of(folder: Path) -> run_guard.RunGuard:
    """The guard of a classification run's folder."""
    # of runs from before there was a choice
    before = {"features": USUAL, "network": backbones.USUAL}
    before |= {"exclude_1d": False, "warmup_epochs": 0, "interpolation": "bilinear", "head_std": 0.01}
    before |= {"crops": "torchvision"}
    return run_guard.RunGuard(folder=folder, outputs=(CHECKPOINTS, "result.json"), defaults=before)


def is_complete(folder: Path) -> bool:
    """Whether the result of the run is there and whole, which is printed; a damaged one is named, and made again.

    The checkpoint of a complete run goes: a run that was killed at its very end has left it.
    """
    path = folder / "result.json"
    if not results.is_whole(path, quiet=not distributed.is_main()):
        return False
    if distributed.is_main():
        for left in folder.glob(CHECKPOINTS):
            left.unlink()
        print(f"done already: {path}")
    return True
