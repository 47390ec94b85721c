"""The main job, whole and real, at a size that says nothing: every stage hands its file to the next."""

import csv
import json

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
