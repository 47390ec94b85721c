"""Start a SLURM of two nodes with two GPUs each on this machine and print the SLURM_CONF to export.

    eval "$(python tools/local_slurm/up.py)"

The GPUs are only counted, there need not be any. Partitions: gpu, cpu, and spare, whose jobs give way to those in
urgent. What already runs is left alone. `python tools/local_slurm/down.py` ends it all.
"""

import argparse
import os
import shutil
import subprocess
import time

from runtime.command_line import Parser, UserError, run
from tools.local_slurm import CONF, FOLDER, NODES, configuration, hosts, prerequisites, services

READY_S = 60.0
"""Seconds the nodes get to report."""

USABLE = ("idle", "mixed", "allocated", "completing")
"""States of a node that takes jobs; it is not idle where the cluster was up before and has work."""


def main(argv: list[str] | None = None) -> int:
    """Start the cluster, if it is not up, and wait until its nodes take jobs."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-accounting", action="store_true", help="without MariaDB and slurmdbd: sacct will fail")
    accounting = not parser.parse_args(argv).no_accounting
    prerequisites.become_root(__file__, argv)
    if not services.running("slurmctld"):
        prerequisites.install_packages(accounting=accounting)
        start_daemons(accounting=accounting)
    elif accounting != bool(services.running("slurmdbd")):
        raise UserError(f"it runs {'without' if accounting else 'with'} accounting; take it down first")
    start_nodes()
    print(f"export SLURM_CONF={CONF}", flush=True)
    return 0


def start_daemons(*, accounting: bool) -> None:
    """Configuration, then munge, the database, the controller."""
    if FOLDER.is_symlink() or (FOLDER.exists() and FOLDER.stat().st_uid):
        raise UserError(f"{FOLDER} belongs to another user; remove it")
    for name in services.names():
        services.stop(name)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(mode=0o755)
    configuration.write(accounting=accounting)
    hosts.add()
    munge = FOLDER / "munge"
    services.start(
        "munged",
        *("munged", "--foreground", "--force", f"--socket={munge}/socket", f"--key-file={munge}/key"),
        *(f"--log-file={munge}/log", f"--pid-file={munge}/pid", f"--seed-file={munge}/seed"),
        ready=lambda: services.answers("munge", "--no-input", f"--socket={munge}/socket"),
    )
    if accounting:
        start_database()
    services.start("slurmctld", "slurmctld", "-D", "-f", CONF, ready=lambda: services.answers("scontrol", "ping"))


def start_database() -> None:
    """A MariaDB of our own, reached by a socket in the folder and by nothing else; then slurmdbd."""
    data, socket = FOLDER / "mariadb", FOLDER / "mariadb.socket"
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"],
        capture_output=True,
        check=True,
    )
    services.start(
        "mariadbd",
        *("mariadbd", "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={socket}", "--skip-networking"),
        "--innodb-buffer-pool-size=64M",
        ready=lambda: services.answers("mariadb-admin", "--no-defaults", f"--socket={socket}", "ping"),
    )
    services.start(
        "slurmdbd", "slurmdbd", "-D", ready=lambda: services.answers("sacctmgr", "--noheader", "show", "tres")
    )


def start_nodes() -> None:
    """Start what slurmd is missing and wait until both nodes are idle."""
    for node in NODES:
        services.start(node, "slurmd", "-D", "-N", node, "-f", CONF, ready=lambda: True)
    end = time.monotonic() + READY_S
    while not usable(states := node_states()):
        if time.monotonic() > end:
            raise UserError(f"the nodes are not up after {READY_S:.0f} s: {states}; see {FOLDER / 'log'}")
        time.sleep(0.2)


def usable(states: dict[str, str]) -> bool:
    """Whether every node takes jobs."""
    return len(states) == len(NODES) and all(state in USABLE for state in states.values())


def node_states() -> dict[str, str]:
    """Node -> state, as sinfo has it."""
    environment = {**os.environ, "SLURM_CONF": str(CONF)}
    command = ["sinfo", "--noheader", "--Node", "--format=%N %T", "--partition=gpu"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    return dict(line.split() for line in done.stdout.splitlines())


if __name__ == "__main__":
    run(main)
