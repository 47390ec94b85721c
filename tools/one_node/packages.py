"""The Debian packages of a SLURM; installed where they are missing and we may."""

import os
import shutil
import subprocess

from runtime.command_line import UserError

PROGRAMS = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
FOR_ACCOUNTING = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server"}


def need(*, accounting: bool) -> None:
    """Install what is missing. Raises UserError that names it where that cannot be done."""
    wanted = PROGRAMS | (FOR_ACCOUNTING if accounting else {})
    missing = sorted({package for program, package in wanted.items() if not shutil.which(program)})
    if not missing:
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise UserError(f"missing Debian packages: {' '.join(missing)}; install them as root")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        done = subprocess.run(["apt-get", *command], env=quiet, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"apt-get {command[0]} failed ({last}); needed: {' '.join(missing)}")
