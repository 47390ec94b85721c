"""What a probe's run is: kept in its folder, so that no other run continues or overwrites it unnoticed."""

from pathlib import Path

from runtime import distributed, run_guard
from runtime.files import write_json


def claim(folder: Path, identity: dict) -> None:
    """Make ``folder`` the folder of the run with this ``identity`` (flat, plain values); it stays so if it was before.

    A run that left neither checkpoint nor result has no claim. Raises UserError that names what differs if another
    run's are there.
    """
    run_guard.check(folder, identity, begun=("checkpoint.pth", "result.json"))
    distributed.barrier()  # every rank has looked before the first one writes
    if distributed.is_main():
        write_json(folder / run_guard.FILE, identity)
