"""What a probe's run is: kept in its folder, so that no other run continues or overwrites it unnoticed."""

from pathlib import Path

from runtime import run_guard


def claim(folder: Path, identity: dict) -> None:
    """Make ``folder`` the folder of the run with this ``identity`` (flat, plain values); it stays so if it was before.

    A run that left neither checkpoint nor result has no claim. Raises UserError that names what differs if another
    run's are there.
    """
    run_guard.RunGuard(folder=folder, outputs=("checkpoint.pth", "result.json")).claim(identity)
