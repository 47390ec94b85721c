"""The daemons of a SLURM need root: be it already, or become it by a sudo that asks no password."""

import os
import shutil
import subprocess
import sys

from runtime.command_line import UserError


def become(script: str, argv: list[str] | None) -> None:
    """Return where this process is root; else begin again as root. Raises UserError where that is not to be had."""
    if os.geteuid() == 0:
        return
    sudo = shutil.which("sudo")
    if not sudo or subprocess.run([sudo, "-n", "true"], capture_output=True).returncode:
        raise UserError(
            f"only root can start or end the daemons of a SLURM; give it as root: {sys.executable} {script}"
        )
    os.execv(sudo, [sudo, "-n", sys.executable, script, *(sys.argv[1:] if argv is None else argv)])
