"""The batch scripts, whole, as files of tests/slurm/submitting/golden.

After a change that is meant: GOLDEN=write python -m pytest tests/slurm/submitting/test_batch_script.py, then git diff.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from slurm.planning import graph
from slurm.planning.experiment import Experiment
from slurm.submitting import export, snapshot, submit
from slurm.submitting.cluster import Cluster

GOLDEN = Path(__file__).parent / "golden"

EXPERIMENT = Experiment(
    methods=("simclr", "byol"),
    recipe="demo",
    protocols=("demo-fpn",),
    benchmarks=("scenes",),
    embedded_data=True,
    settings={"data": {"images": 10}},
    resources={"pretrain": {"gpus": 16, "cpus": 10, "mem_gb": 20, "hours": 48}, "transfer": {"gpus": 2, "mem_gb": 24}},
)
PLAIN = Cluster(name="plain", executor="slurm")
FULL = Cluster(
    name="full",
    executor="slurm",
    partition="gpu",
    cpu_partition="cpu",
    account="vision",
    qos="normal",
    constraint="[a100&ib]|h100",
    wckey="w",
    gpus_per_node=8,
    hours=24,
    mem=False,
    max_running=4,
    signal_delay_s=300,
    scratch="/local/$USER",
    container="/images/torch 2.sif",
    container_command="apptainer exec --nv --bind /shared:/my/data",
    python="python3",
    setup=["module load cuda", "export NCCL_DEBUG=WARN"],
    extra={"mail-type": "FAIL", "exclusive": True},
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(name: str, text: str, folder: Path) -> None:
    """Compare a text with the golden file of this name, the paths of this machine replaced."""
    text = text.replace(str(folder), "/HERE").replace(sys.executable, "/PYTHON")
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("cluster", [PLAIN, FULL], ids=lambda cluster: cluster.name)
def test_the_batch_scripts_are_the_golden_ones(here, cluster):
    jobs = graph.build(EXPERIMENT, ["pretrain", "transfer"])
    scripts = submit.scripts(Path("runs"), jobs, done=set(), cluster=cluster, code=here / "code")
    assert len(scripts) == 6
    for name, script in zip(("data", "pretrain", "convert", "transfer", "tables"), scripts, strict=False):
        if cluster is FULL or name in ("data", "pretrain"):
            check(f"{cluster.name}-{name}.sh", script, here)


def test_the_exported_scripts_are_the_golden_ones(here, monkeypatch):
    monkeypatch.setattr(export.socket, "gethostname", lambda: "login")
    jobs = graph.build(EXPERIMENT, ["pretrain"])
    path = export.write(Path("runs"), jobs, done=set(), cluster=PLAIN, code=here / "code", folder=Path("out"))
    check("export-submit.sh", path.read_text(), here)
    check("export-pretrain.sh", Path("out/0002-simclr-demo-seed0-pretrain.sh").read_text(), here)


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.sh")), ids=lambda path: path.stem)
def test_a_golden_script_is_one_that_bash_can_read(path):
    assert subprocess.run(["bash", "-n", str(path)], capture_output=True).returncode == 0


def test_a_script_that_is_shown_is_the_one_that_is_submitted(suite, fake_slurm, capsys):
    assert suite.main("--cluster", "slurm", "--dry-run") == 0
    shown = capsys.readouterr().out.split("---- script 1 of 4 ")[1].partition("\n")[2].partition("\n\n---- script")[0]
    assert suite.main("--cluster", "slurm") == 0
    assert fake_slurm.script("100").rstrip() == shown
    assert snapshot.take(suite.runs).name in shown
