"""End the SLURM that tools/local_slurm/up.py started: its jobs, its daemons, its line in /etc/hosts, its folder."""

import os
import shutil
import subprocess
import time

from runtime.command_line import Parser, run
from tools.local_slurm import CONF, FOLDER, NODES, hosts, prerequisites, services

ORDER = (*NODES, "slurmctld", "slurmdbd", "mariadbd", "munged")


def main(argv: list[str] | None = None) -> int:
    """End the cluster; nothing of it is left."""
    Parser(description=__doc__).parse_args(argv)
    if not FOLDER.exists():
        print("no cluster of local_slurm is up")
        return 0
    prerequisites.become_root(__file__, argv)
    cancel_jobs()
    for name in ORDER:
        services.stop(name)
    services.end_jobs()
    hosts.remove()
    shutil.rmtree(FOLDER)
    return 0


def cancel_jobs(*, within_s: float = 10.0) -> None:
    """Cancel every job and give the nodes a moment to end it; what is left is killed later."""
    environment = {**os.environ, "SLURM_CONF": str(CONF)}
    if not (services.running("slurmctld") and services.answers("scontrol", "ping")):
        return
    for state in ("PENDING", "RUNNING", "SUSPENDED"):
        subprocess.run(["scancel", f"--state={state}"], env=environment, capture_output=True)
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        left = subprocess.run(["squeue", "--noheader"], env=environment, capture_output=True, text=True)
        if not left.stdout.strip():
            return
        time.sleep(0.2)


if __name__ == "__main__":
    run(main)
