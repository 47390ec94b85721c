"""The fault campaign: what can go wrong under a month of training, done on purpose to a real SLURM, one after another.

`make slurm-faults` prints its table, which stands in docs/faults.md; half an hour on two cores. It takes down daemons,
so it runs on the cluster of tools/local_slurm alone.
"""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tools.local_slurm import CONF, FOLDER, services

TWO = {"gpus": 2, "place": {"gpus_per_node": 1}}
"""Two tasks, one on each node."""

KILLS = 20


@pytest.fixture(scope="module")
def table(slurm_jobs):
    """Rows of fault and outcome; printed at the end."""
    assert os.environ["SLURM_CONF"] == str(CONF), "this would take down daemons of a cluster that others use"
    rows = []
    yield lambda fault, outcome: rows.append(f"| {fault} | {outcome} |")
    print("\n| Fault | What happened |\n|---|---|", *rows, sep="\n")


@pytest.fixture(scope="module")
def undisturbed(slurm_jobs) -> str:
    """Weights of two tasks that nothing happened to."""
    jobs = slurm_jobs.submit("undisturbed-two", **TWO)
    assert jobs.ended() == "COMPLETED", jobs.log()
    return jobs.weights()


def goes_on(slurm_jobs, name: str, undisturbed: str, *words: str) -> None:
    """The same command ends with the weights of the undisturbed run."""
    jobs = slurm_jobs.submit(name, *words, **TWO)
    assert jobs.ended() == "COMPLETED", jobs.log()
    assert jobs.weights() == undisturbed


def test_kill_9_of_one_rank_at_random_steps(slurm_jobs, table):
    steps = ("pretrain.epochs=3", "pretrain.batch_size=4", "pretrain.log.checkpoint_every=3")
    reference = slurm_jobs.submit("long", *steps, **TWO)
    chance, took, at, said = random.Random(0), [], [], []
    for _ in range(KILLS):
        jobs = slurm_jobs.submit("killed", *steps, PACE_S=3, **TWO)
        before = len(jobs.curve())
        jobs.at_step(min(before + 1, 35))
        time.sleep(chance.uniform(0, 2))
        at.append(len(jobs.curve()))
        jobs.kill(chance.randrange(2))
        began = time.monotonic()
        assert jobs.ended(within_s=120) == "FAILED", jobs.log()
        took.append(time.monotonic() - began)
        said.append(jobs.why())
    assert reference.ended() == "COMPLETED", reference.log()
    goes_on(slurm_jobs, "killed", reference.weights(), *steps)
    assert all("Killed" in line for line in said), said
    table(
        f"kill -9 of one of 2 ranks, {KILLS} times in one run of 36 steps (after steps {', '.join(map(str, at))})",
        f"each time the job failed within {max(took):.0f} s (`{said[-1]}`); the same command went on, same weights",
    )


def test_kill_9_of_srun(slurm_jobs, table, undisturbed):
    jobs = slurm_jobs.submit("srun", PACE_S=1, **TWO)
    jobs.at_step(3)
    jobs.kill_processes(b"srun", "SLURM_NNODES=2")
    began = time.monotonic()
    state = jobs.ended(within_s=120)
    line = f"{state} within {time.monotonic() - began:.0f} s (`{jobs.why()}`)"
    goes_on(slurm_jobs, "srun", undisturbed)
    table("kill -9 of srun", f"{line}; the same command went on, same weights")


def test_slurmd_dies_and_comes_back(slurm_jobs, table, undisturbed):
    jobs = slurm_jobs.submit("slurmd", PACE_S=2, **TWO)
    jobs.at_step(2)
    os.kill(services.running("node2"), signal.SIGKILL)
    time.sleep(15)
    start_node2()
    assert jobs.ended(within_s=400) == "COMPLETED", jobs.log()
    assert jobs.weights() == undisturbed
    table("kill -9 of a node's slurmd, back after 15 s", "the job ran on; same weights")


def test_a_node_goes_down(slurm_jobs, table, undisturbed):
    """Its daemon and every process of the job on it at once, and the daemon comes back only when SLURM has noticed."""
    jobs = slurm_jobs.submit("node", PACE_S=20, **TWO)
    jobs.at_step(3)
    os.kill(services.running("node2"), signal.SIGKILL)
    jobs.kill_processes(b"submitit", "SLURMD_NODENAME=node2", parents=True)
    began = time.monotonic()
    try:
        jobs.wait(lambda: jobs.state() != "RUNNING", within_s=240)
        took, state = time.monotonic() - began, jobs.state()
    finally:
        start_node2()
    if (first := jobs.state()) in ("FAILED", "NODE_FAIL"):
        goes_on(slurm_jobs, "node", undisturbed)
        table(
            "a node goes down", f"{first} within {took:.0f} s (`{jobs.why()}`); the same command went on, same weights"
        )
        return
    assert jobs.ended(within_s=400) == "COMPLETED", jobs.log()
    assert jobs.weights() == undisturbed
    table("a node goes down", f"{state} within {took:.0f} s, queued again by SLURM ({jobs.restarts()}x); same weights")


def start_node2() -> None:
    services.start("node2", "slurmd", "-D", "-N", "node2", "-f", CONF, ready=lambda: True)


def test_the_controller_is_away_for_a_minute(slurm_jobs, table, undisturbed):
    jobs = slurm_jobs.submit("controller", PACE_S=2, **TWO)
    jobs.at_step(2)
    os.kill(services.running("slurmctld"), signal.SIGKILL)
    for rank in (0, 1):
        jobs.kill(rank, signal.SIGUSR2)  # so it has to go back into a queue that is not there
    time.sleep(60)
    services.start("slurmctld", "slurmctld", "-D", "-f", CONF, ready=lambda: services.answers("scontrol", "ping"))
    jobs.runs_again(1, within_s=240)
    assert jobs.ended() == "COMPLETED", jobs.log()
    assert jobs.weights() == undisturbed
    table(
        "slurmctld killed for a minute, the time limit's signal meanwhile",
        "saved, asked until it was back; same weights",
    )


def test_a_first_node_whose_name_does_not_resolve(slurm_jobs, table, undisturbed):
    jobs = slurm_jobs.submit("nameless", FIRST_NODE="no-such-node.invalid", **TWO)
    assert jobs.ended(within_s=180) == "FAILED", jobs.log()
    line = jobs.why()
    assert "does not resolve" in line
    goes_on(slurm_jobs, "nameless", undisturbed)
    table("the first node's name does not resolve", f"FAILED (`{line}`); same weights once fixed")


@pytest.mark.parametrize("option, words", [("size=150m", "No space left on device"), ("ro", "Read-only file system")])
def test_a_run_folder_that_cannot_be_written(slurm_jobs, table, undisturbed, option, words):
    name = option[:2]
    folder: Path = slurm_jobs.folder / name / "runs" / "simsiam-recipe-seed0" / "pretrain"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", option, "tmpfs", str(folder)], check=True)
    try:
        jobs = slurm_jobs.submit(name, **TWO)
        assert jobs.ended(within_s=120) == "FAILED", jobs.log()
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    line = jobs.why()
    assert words in line
    goes_on(slurm_jobs, name, undisturbed)
    table(
        "disk full" if name == "si" else "run folder not writable",
        f"FAILED (`{short(line)}`); same weights once fixed",
    )


def test_a_node_without_the_data(slurm_jobs, table, undisturbed):
    jobs = slurm_jobs.submit("data", NO_DATA_ON="node2", **TWO)
    assert jobs.ended(within_s=120) == "FAILED"
    line = jobs.why()
    assert "no folder of images" in line
    goes_on(slurm_jobs, "data", undisturbed)
    table("one of two nodes lacks the data", f"FAILED (`{short(line)}`); same weights once fixed")


def test_a_job_is_cancelled_while_others_wait_for_it(slurm_jobs, table):
    jobs = slurm_jobs.submit("waiting", stage="after", LASTS_S=60)
    subprocess.run(["scancel", jobs.ids["environment"]], check=True)
    assert jobs.ended("after", within_s=60) == "CANCELLED"
    table("a job is cancelled while others wait for it", "they leave the queue as CANCELLED; nothing of them ran")


def short(line: str) -> str:
    """Without the folder of this test."""
    words = (Path(word).name if word.startswith(str(FOLDER.parent)) else word for word in line.split())
    return " ".join(words)
