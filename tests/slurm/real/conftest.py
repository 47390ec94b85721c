"""A real SLURM. Where none is up the tests are skipped and say why; where SLURM_TESTS=required they fail instead."""

import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from runtime import job_graph
from slurm.watching import job_status
from tools.local_slurm import CONF

MODULES = Path(__file__).parent / "modules"
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE")


@pytest.fixture(scope="session")
def real_slurm():
    """Points SLURM_CONF to a cluster that answers."""
    before = os.environ.get("SLURM_CONF")
    if not before and CONF.exists():
        os.environ["SLURM_CONF"] = str(CONF)
    reason = "no SLURM_CONF and no cluster of tools/local_slurm; start one with: make slurm-up"
    if "SLURM_CONF" in os.environ:
        try:
            answer = subprocess.run(["sinfo", "--noheader"], capture_output=True, text=True, timeout=30)
            reason = answer.stderr.strip() if answer.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
    if reason and os.environ.get("SLURM_TESTS") == "required":
        pytest.fail(f"SLURM_TESTS=required, but {reason}")
    if reason:
        pytest.skip(reason)
    yield
    if before is None:
        os.environ.pop("SLURM_CONF", None)


@pytest.fixture(scope="session")
def slurm_jobs(real_slurm, scenes, tmp_path_factory):
    """Submits jobs through run_all, as a user would; what is left of them is cancelled at the end."""
    sys.path.insert(0, str(MODULES))  # the submission lets each command check its arguments
    site = Site(tmp_path_factory.mktemp("slurm"), scenes)
    yield site
    sys.path.remove(str(MODULES))
    if site.ids:
        subprocess.run(["scancel", *site.ids], check=False)


@pytest.fixture(scope="session", autouse=True)
def early(request, real_slurm):
    """Begin the interruptions with the first test, whichever it is, if one will ask for them: they mostly wait."""
    if any("interruptions" in item.fixturenames for item in request.session.items):
        request.getfixturevalue("interruptions")


@pytest.fixture(scope="session")
def interruptions(slurm_jobs):
    """The jobs of every scenario, under its name, as futures."""
    scenarios = (preempted, undisturbed, signalled, at_the_time_limit, often, preempted_early, signalled_early)
    with ThreadPoolExecutor(len(scenarios)) as pool:
        yield {scenario.__name__: pool.submit(scenario, slurm_jobs) for scenario in scenarios}


def undisturbed(slurm):
    return slurm.submit("undisturbed")


def signalled(slurm):
    """By `scancel --signal`, and again by `scontrol requeue`."""
    jobs = slurm.submit("signalled", PACE_S=2)
    jobs.at_step(1)
    jobs.send("USR2")
    jobs.runs_again(1)
    jobs.at_step(4)
    subprocess.run(["scontrol", "requeue", jobs.ids["pretrain"]], check=True)
    jobs.runs_again(2)
    return jobs


def preempted(slurm):
    """By a job of a partition that goes first, which it learns by SIGTERM alone."""
    jobs = slurm.submit("preempted", gpus=1, place={"partition": "spare"}, PACE_S=6)
    jobs.at_step(1)
    slurm.preemption.wait(240)
    jobs.runs_again(1)
    return jobs


def preempt():
    """Submit a job that goes first and needs all GPUs, the moment that both jobs it takes the place of are ready."""
    urgent = ["--partition=urgent", "--nodes=2", "--gpus-per-node=2", "--output=/dev/null", "--wrap=sleep 1"]
    subprocess.run(["sbatch", *urgent], check=True, capture_output=True)


def before_python(slurm, name, **options):
    """A job whose first start has not come as far as Python."""
    started, python = slurm.folder / f"{name}-started", slurm.folder / f"{name}-python"
    python.write_text(
        f"#!/bin/sh\nif [ -z $SLURM_RESTART_COUNT ]; then touch {started}; sleep 600; fi\nexec {sys.executable} $@\n"
    )
    python.chmod(0o755)
    place = {"python": str(python)} | options.pop("place", {})
    jobs = slurm.submit(name, stage="environment", place=place, **options)
    until(started.exists, 200, lambda: jobs.log("environment"))
    return jobs


def preempted_early(slurm):
    jobs = before_python(slurm, "preempted-early", gpus=1, place={"partition": "spare"})
    slurm.preemption.wait(240)
    return jobs


def signalled_early(slurm):
    jobs = before_python(slurm, "signalled-early")
    subprocess.run(["scancel", "--signal=USR2", jobs.ids["environment"]], check=True)
    return jobs


def at_the_time_limit(slurm):
    """Two minutes; SLURM, which looks every half minute, sends the signal 20 to 50 seconds before."""
    return slurm.submit("limit", "pretrain.resources.hours=0.03", PACE_S=16)


def often(slurm):
    """Seven times, each time as if it had been asked to stop."""
    return slurm.submit("often", stage="environment", REQUEUES=7)


@dataclass
class Site:
    """A user's folder on the cluster."""

    folder: Path
    scenes: Path
    ids: list[str] = field(default_factory=list)
    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    preemption: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, action=preempt))
    """Where the two scenarios of a preemption meet: one would else take the other's job away as well, too early."""

    def submit(self, name: str, *words: str, stage: str = "pretrain", gpus: int = 0, place=(), **variables) -> "Jobs":
        """Submit a stage into ``name``/runs; ``variables`` are the environment of its jobs, ``place`` the cluster's."""
        from slurm import run_all

        here = self.folder / name
        (here / "runs").mkdir(parents=True, exist_ok=True)
        exports = [f"export {key}={value}" for key, value in ({"PYTHONPATH": MODULES} | variables).items()]
        (here / "cluster.yaml").write_text(yaml.safe_dump(PLACE | {"setup": exports} | dict(place)))
        (here / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
        (here / "preset.yaml").write_text(yaml.safe_dump(PRESET | {"recipe": str(here / "recipe.yaml")}))
        options = {"preset": here / "preset.yaml", "cluster": here / "cluster.yaml", "runs": here / "runs"}
        argv = ["--stage", stage, *(str(word) for key, value in options.items() for word in (f"--{key}", value))]
        argv += [f"{stage}.resources.{key}={value}" for key, value in {"gpus": gpus, "cpus": 1, "hours": 0.4}.items()]
        argv += [f"pretrain.data.root={self.scenes}/unlabelled", *words]
        with self.one_at_a_time:
            assert run_all.main(argv, registry=table()) == 0
            jobs = Jobs(here / "runs")
            self.ids += jobs.ids.values()
        return jobs


class Jobs:
    """The jobs of one submission, by the last part of their name."""

    def __init__(self, runs: Path):
        self.runs = runs
        self.names, self.ids = {}, {}
        for path in (runs / "jobs").rglob("submitted.json"):
            self.names[path.parent.name] = str(path.parent.relative_to(runs / "jobs"))
            self.ids[path.parent.name] = json.loads(path.read_text())["job_id"]

    def folder(self, stage: str = "pretrain") -> Path:
        return self.runs / self.names[stage]

    def log(self, stage: str = "pretrain", task: int = 0) -> str:
        """What a task said on stderr; with the first one's goes what the batch script said."""
        path = self.runs / "jobs" / self.names[stage] / f"{self.ids[stage]}_{task}_log.err"
        return path.read_text() if path.exists() else ""

    def reasons(self, stage: str = "pretrain") -> list[str]:
        """The lines on which the tasks say why they failed."""
        return [line for task in range(4) for line in self.log(stage, task).splitlines() if line.startswith("error: ")]

    def why(self, stage: str = "pretrain") -> str:
        """Why a job failed, as status.py says it."""
        job = next(job for job in job_graph.load(self.runs) if job.name == self.names[stage])
        return job_status.job_statuses(self.runs, [job])[0].detail

    def about(self, stage: str = "pretrain") -> dict[str, str]:
        """What scontrol knows of a job."""
        command = ["scontrol", "--oneliner", "show", "job", self.ids[stage]]
        return dict(re.findall(r"(\w+)=(\S*)", subprocess.run(command, capture_output=True, text=True).stdout))

    def state(self, stage: str = "pretrain") -> str:
        return self.about(stage).get("JobState", "GONE")

    def ended(self, stage: str = "pretrain", *, within_s: float = 280) -> str:
        """The state in which a job ended."""
        until(lambda: self.state(stage) in ENDED, within_s, lambda: f"{self.state(stage)}\n{self.log(stage)}")
        return self.state(stage)

    def wait(self, condition, *, stage: str = "pretrain", within_s: float = 200) -> None:
        """Wait for what the jobs bring about."""
        until(condition, within_s, lambda: self.log(stage))

    def at_step(self, step: int, *, within_s: float = 200) -> None:
        """Wait until a pretraining has come to a step."""
        self.wait(lambda: len(self.curve()) >= step, within_s=within_s)

    def restarts(self) -> int:
        return int(self.about().get("Restarts", 0))

    def runs_again(self, times: int, *, within_s: float = 280) -> None:
        """Wait until a job runs for the ``times``-th time after its first."""
        condition = lambda: self.restarts() >= times and self.state() == "RUNNING"  # noqa: E731
        until(condition, within_s, lambda: f"{self.about()}\n{self.log()}")

    def send(self, name: str) -> None:
        subprocess.run(["scancel", f"--signal={name}", self.ids["pretrain"]], check=True)

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one task, from outside SLURM."""
        self.kill_processes(b"submitit", f"SLURM_PROCID={rank}", number)

    def kill_processes(self, name: bytes, variable: str, number: int = signal.SIGKILL, *, parents: bool = False):
        """Send a signal to the job's processes that have this in their command line and in their environment.

        Args:
            parents: first to the process that watches over them, SLURM's step daemon.
        """
        mine = {f"SLURM_JOB_ID={self.ids['pretrain']}".encode(), variable.encode()}
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "cmdline").read_bytes()
                found = name in words and (name == b"srun" or not words.startswith(b"srun"))  # which names its task's
                if found and mine <= set((process / "environ").read_bytes().split(b"\0")):
                    parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                    for pid in [parent] * parents + [int(process.name)]:
                        os.kill(pid, number)
            except OSError:
                continue  # it ended while we looked

    def curve(self) -> list[dict]:
        """The lines of a pretraining's log.jsonl."""
        path = self.folder() / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def weights(self) -> str:
        """One hash over the names and bytes of all tensors of backbone.pth."""
        from pretrain.checkpoints import checkpoint

        digest = hashlib.sha256()
        for name, value in sorted(checkpoint.read_backbone(self.folder() / "backbone.pth")["state_dict"].items()):
            digest.update(name.encode() + value.numpy().tobytes())
        return digest.hexdigest()


def until(condition, within_s: float, story) -> None:
    """Wait for a condition; fail with a story."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s:.0f} s: {story()}"
        time.sleep(0.3)


PLACE = {"executor": "slurm", "partition": "gpu", "gpus_per_node": 2, "mem": False, "signal_delay_s": 20}
PRESET = {"methods": ["simsiam"], "protocols": [], "benchmarks": [], "settings": {}}
RECIPE = {
    "epochs": 2,  # of 48 images: six steps
    "batch_size": 16,
    "precision": "fp32",
    "data": {"workers": 0},
    "views": {"size": 32},
    "optim": {"lr": 0.05, "warmup_epochs": 0.0},
    "log": {"every": 1, "checkpoint_every": 2},
    "method": {"projector_width": 64, "predictor_width": 32},
}


def table() -> dict:
    """The suite's stages; pretraining has pauses, `environment` writes down its variables, `after` waits for it."""
    from runtime.job_graph import Resources
    from slurm.planning.registry import STAGES
    from slurm.planning.stage import Invocation, Stage

    def environment(experiment, row):
        return [Invocation(folder="environment", argv=["--out", str(experiment.runs / "environment")])]

    def after(experiment, row):
        argv = ["--out", str(experiment.runs / "after")]
        return [Invocation(folder="after", argv=argv, inputs=(experiment.runs / "environment" / "out.txt",))]

    short = Resources(cpus=1, hours=0.2)
    once = {"module": "report_environment", "outputs": ("out.txt",), "per_row": False, "resources": short}
    ours = {
        "environment": Stage(invocations=environment, **once),
        "after": Stage(invocations=after, implies=("environment",), **once),
    }
    for name, module in {"pretrain": "paced_pretraining", "transfer": "record_losses"}.items():
        ours[name] = dataclasses.replace(STAGES[name], module=module, implies=())
    return STAGES | ours
