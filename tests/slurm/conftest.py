"""A pipeline of four stages that take no time, and a SLURM that is one small script."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.job_graph import Resources
from slurm.planning.stage import Invocation, Stage

TINY = Resources(cpus=1, mem_gb=1, hours=1)


def draw(experiment, row):
    argv = ["--out", str(experiment.runs / "draw")]
    return [Invocation(folder="draw", argv=argv, settings=experiment.settings_for("draw"))]


def train(experiment, row):
    folder = f"{row.label}-seed{row.seed}/train"
    argv = ["--out", str(experiment.runs / folder), "--name", row.method]
    inputs = (experiment.runs / "draw" / "out.txt",)
    return [Invocation(folder=folder, argv=argv, settings=experiment.settings_for("train"), inputs=inputs)]


def probe(experiment, row):
    folder = f"{row.label}-seed{row.seed}/probe"
    argv = ["--out", str(experiment.runs / folder)]
    inputs = (experiment.runs / f"{row.label}-seed{row.seed}/train/out.txt",)
    return [Invocation(folder=folder, argv=argv, settings=experiment.settings_for("probe"), inputs=inputs)]


def collect(experiment, row):
    return [Invocation(folder="results", argv=["--out", str(experiment.runs / "results")])]


OUT = ("out.txt",)
REGISTRY = {
    "draw": Stage(module="tiny_stage", invocations=draw, outputs=OUT, per_row=False, resources=TINY),
    "train": Stage(module="tiny_stage", invocations=train, outputs=OUT, implies=("draw",), resources=TINY),
    "probe": Stage(module="tiny_stage", invocations=probe, outputs=OUT, implies=("collect",), resources=TINY),
    "collect": Stage(module="tiny_stage", invocations=collect, per_row=False, gathers=True, resources=TINY),
}


@dataclass
class Suite:
    """A folder to run the tiny stages in."""

    folder: Path

    @property
    def runs(self) -> Path:
        return Path("runs")

    def main(self, *arguments: str) -> int:
        """run_all's exit code, with the tiny stages in place of the real ones."""
        from slurm import run_all

        preset = ["--preset", str(self.folder / "tiny.yaml")]
        return run_all.main(["--stage", "train,probe", *preset, *arguments], registry=REGISTRY)

    def calls(self, name: str) -> int:
        """How often a stage was really started for job ``name``."""
        path = self.folder / "runs" / name / "calls.txt"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture
def suite(tmp_path, monkeypatch) -> Suite:
    (tmp_path / "tiny.yaml").write_text(
        "methods: [random, matrix_ssl]\nrecipe: tiny\nprotocols: []\nbenchmarks: []\nsettings: {draw: {}}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "fakes"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent / "fakes"), prepend=os.pathsep)
    return Suite(tmp_path)


@pytest.fixture
def fake_slurm(tmp_path, monkeypatch):
    """A folder of SLURM commands on the path; returns the module that runs what they queued."""
    commands = tmp_path / "bin"
    commands.mkdir()
    fake = Path(__file__).parent / "fakes" / "fake_slurm.py"
    for name in ("sbatch", "squeue", "sacct", "scancel", "sinfo", "srun", "scontrol"):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{fake}" {name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(commands), prepend=":")
    monkeypatch.setenv("FAKE_SLURM", str(tmp_path / "queue"))
    monkeypatch.syspath_prepend(str(fake.parent))
    import fake_slurm

    return fake_slurm
