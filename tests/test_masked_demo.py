"""The preset masked-demo, whole and real, at a size that says nothing: a ViT from pretraining to every table."""

import csv
import json

from slurm import run_all

SMALL = [
    *("data.images=160", "knn.k=5", "linear.epochs=2", "linear.batch_size=40"),
    *("pretrain.epochs=1", "pretrain.batch_size=80", "pretrain.optim.warmup_epochs=0"),
    *("transfer.SOLVER.MAX_ITER=2", "transfer.SOLVER.STEPS=[]", "transfer.SOLVER.WARMUP_ITERS=1"),
    *("transfer.SOLVER.IMS_PER_BATCH=2", "transfer.TEST.DETECTIONS_PER_IMAGE=2"),
]


def test_a_masked_autoencoder_and_its_own_start_go_from_scenes_to_kNN_linear_ranks_and_ViTDet(tmp_path):
    runs = tmp_path / "runs"
    call = ["--preset", "masked-demo", "--stage", "pretrain,transfer", "--methods", "m_mae,untrained"]
    assert run_all.main([*call, "--runs", str(runs), "--cluster", "debug", *SMALL]) == 0
    assert (runs / "m_mae-demo-seed0/pretrain/reconstructions.png").is_file()
    ledger = json.loads((runs / "m_mae-demo-seed0/convert/conversion.json").read_text())
    assert sum("to" in entry for entry in ledger["tensors"].values()) == 4 * 12 + 3
    tables = {
        "demo-vitdet": "AP",
        "knn": "top1",
        "linear-vit": "top1",
        "features-backbone-class-token": "rank-total-cov",
    }
    for table, metric in tables.items():
        with (runs / f"results/scenes-{table}.csv").open() as file:
            rows = {
                (row["method"], row["variant"], row["epochs"])
                for row in csv.DictReader(file)
                if row["metric"] == metric
            }
        assert rows == {("m_mae", "", "1"), ("mae", "untrained", "0")}, table
