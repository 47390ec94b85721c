"""What the daemons of a SLURM need on this machine: root, or a sudo without a password, and the packages."""

import os
import shutil
import subprocess
import sys

from runtime.command_line import UserError

PROGRAMS = {"slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client", "munged": "munge"}
FOR_ACCOUNTING = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server", "mariadb-install-db": "mariadb-server"}


def become_root(script: str, argv: list[str] | None) -> None:
    """Return where this process is root; else start it again as root. Raises UserError where that is not possible."""
    if os.geteuid() == 0:
        return
    sudo = shutil.which("sudo")
    if not sudo or subprocess.run([sudo, "-n", "true"], capture_output=True).returncode:
        raise UserError(f"only root can start or end the daemons of a SLURM; run it as root: {sys.executable} {script}")
    os.execv(sudo, [sudo, "-n", sys.executable, script, *(sys.argv[1:] if argv is None else argv)])


def install_packages(*, accounting: bool) -> None:
    """Install the packages that are missing. Raises UserError that names them where that is not possible."""
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
