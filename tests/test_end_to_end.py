"""The main job, whole and real, at a size that says nothing: every stage hands its file to the next."""

import csv
import importlib
import json

import pytest

from runtime import results
from slurm.planning.experiment import Experiment
from slurm.planning.graph import build

SMALL = [
    *("data.images=160", "data.size=32", "knn.k=5"),
    *("pretrain.epochs=1", "pretrain.batch_size=20", "pretrain.optim.warmup_epochs=0"),
    *("transfer.SOLVER.MAX_ITER=3", "transfer.SOLVER.STEPS=[]", "transfer.SOLVER.WARMUP_ITERS=1"),
    *("transfer.TEST.PRECISE_BN.NUM_ITER=2", "transfer.SOLVER.IMS_PER_BATCH=2"),
]


def test_one_command_pretrains_converts_fine_tunes_and_prints_the_table(command, tmp_path):
    runs = tmp_path / "runs"
    call = ["slurm/run_all.py", "--stage", "pretrain,transfer", "--runs", runs, "--cluster", "local", *SMALL]
    done = command(*call, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "untrained" in done.stdout and "SimCLR" in done.stdout and "predictions.png" in done.stdout
    ledger = json.loads((runs / "simclr-demo-seed0/convert/conversion.json").read_text())
    assert sum("to" in entry for entry in ledger["tensors"].values()) == 265
    assert max(ledger["parity"].values()) < 1e-5
    with (runs / "results/scenes-demo-fpn.csv").open() as file:
        rows = {(line["method"], line["variant"], line["epochs"]) for line in csv.DictReader(file)}
    assert rows == {("simclr", "", "1"), ("simclr", "untrained", "0")}

    results = sorted(runs.rglob("result.json"))
    before = [path.stat().st_mtime_ns for path in results]
    again = command(*call, cwd=tmp_path)
    assert again.returncode == 0 and "untrained" in again.stdout
    assert [path.stat().st_mtime_ns for path in results] == before  # said twice, done once


SHORT = {
    "SOLVER.MAX_ITER": "1",
    "SOLVER.STEPS": "[]",
    "SOLVER.WARMUP_ITERS": "0",
    "SOLVER.IMS_PER_BATCH": "2",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": "10",
    "TEST.PRECISE_BN.NUM_ITER": "1",
    "TRANSFER.PICTURES": "0",
    "TRANSFER.TENSORBOARD": "False",
    "DATALOADER.NUM_WORKERS": "0",
}


@pytest.mark.parametrize(
    ("network", "protocol"), [("vit_tiny_patch16", "demo-vitdet"), ("timm:convnext_atto", "timm-fpn-1x")]
)
def test_the_row_from_scratch_has_the_network_of_the_pretrained_rows(network, protocol, tmp_path, monkeypatch):
    """The commands as the planner writes them, one after the other."""
    monkeypatch.chdir(tmp_path)
    of_800_pixels = {"INPUT.MAX_SIZE_TRAIN": "64", "INPUT.MAX_SIZE_TEST": "64"}
    plan = Experiment(
        methods=("random",),
        recipe="demo",
        protocols=(protocol,),
        benchmarks=("scenes",),
        knn=("scenes",),
        embedded_data=True,
        settings={
            "data": {"images": "40", "size": "32"},
            "pretrain": {"backbone.name": network},
            "transfer": SHORT | (of_800_pixels if protocol == "timm-fpn-1x" else {}),
            "knn": {"size": "64", "resize": "64", "k": "3"},
        },
    )
    jobs = [job for job in build(plan, ["transfer", "knn"]) if job.stage in ("data", "transfer", "knn")]
    assert [job.stage for job in jobs] == ["data", "transfer", "knn"]
    for job in jobs:
        assert not importlib.import_module(job.module).main(list(job.argv))
    for folder in (f"{protocol}-scenes", "knn-scenes"):
        records = results.read(tmp_path / "runs/random-seed0" / folder / "result.json")
        assert {(one.method, one.backbone, one.weights_sha256) for one in records} == {("random", network, "")}
