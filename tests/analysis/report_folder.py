"""A runs folder that has one of everything the report shows, in numbers a reader can add up."""

import json
from pathlib import Path

from PIL import Image

from runtime.results import write

COUNTS = {"matrix_ssl": (12.0, 41.0), "byol": (10.0, 40.0), "random": (4.0, 26.0)}
"""Method -> its intra-class rank and box AP."""


def fill(runs: Path, record, detection) -> Path:
    """Three methods, one of them over two seeds, a graph with a job that never ran, and every kind of picture."""
    for method, (rank, score) in COUNTS.items():
        for seed in (0, 1) if method == "matrix_ssl" else (0,):
            row = runs / (f"random-seed{seed}" if method == "random" else f"{method}-demo-seed{seed}")
            box = [score + 20, score + seed, score + 2]
            write(row / "moco-c4-1x-coco_2017" / "result.json", detection(method, box, box, seed=seed), device="cuda")
            kind = {"protocol": "features-backbone", "task": "representation", "benchmark": "scenes", "n": 64}
            ranks = [record(method, rank, metric="rank-intra-cov", seed=seed, **kind)]
            write(row / "analysis-scenes" / "result.json", ranks)
            spectrum = {"n": 64, "eigenvalues": [rank / k**2 for k in range(1, 40)] + [0.0]}
            (row / "analysis-scenes" / "spectra.json").write_text(json.dumps(spectrum))
            measured = {"values": {"rank-intra-cov": rank, "rank-intra-sv": 2 * rank}, "n": 64, "n_per_class": 32}
            measured["intervals"] = {"rank-intra-cov": [rank - 1, rank + 1]}
            measured["warnings"] = ["rank-intra-cov still grows with n"] if method == "matrix_ssl" else []
            measured["limited"] = ["rank-intra-cov"] if method == "matrix_ssl" else []
            (row / "analysis-scenes" / "effective_rank.json").write_text(json.dumps(measured))
    _training(runs / "matrix_ssl-demo-seed0")
    _pictures(runs)
    _graph(runs)
    return runs


def _training(row: Path) -> None:
    (row / "pretrain").mkdir()
    config = {"method": "matrix_ssl", "recipe": "demo", "settings": {"epochs": 8}}
    (row / "pretrain" / "config.yaml").write_text(json.dumps(config))
    (row / "pretrain" / "backbone.pth").touch()
    lines = [
        {"step": step, "uniformity": -step / 100, "alignment": -1.0, "effective_rank": step / 10, "images_per_s": 900.0}
        for step in range(10, 2000, 10)
    ]
    (row / "pretrain" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _pictures(runs: Path) -> None:
    sheet = Image.new("RGB", (3000, 1000), "teal")
    sheet.save(runs / "matrix_ssl-demo-seed0" / "moco-c4-1x-coco_2017" / "predictions.png")
    panel = {"title": "Matrix-SSL, 8 epochs", "trustworthiness": 0.912, "points": [[k % 7, k % 5] for k in range(60)]}
    content = {"how": "t-SNE, scikit-learn's defaults", "classes": ["disk", "ring"], "labels": [0] * 30 + [1] * 30}
    (runs / "results" / "tsne-scenes").mkdir(parents=True)
    (runs / "results" / "tsne-scenes" / "tsne-2.json").write_text(json.dumps(content | {"panels": [panel, panel]}))
    points = [{"step": step, "values": {"rank-intra-cov": 4 + step / 100}} for step in (0, 100, 200)]
    curves = {"setting": {"images": 64, "classes": 2, "layer": "backbone"}, "runs": {"matrix_ssl-demo-seed0": points}}
    (runs / "results" / "curves.json").write_text(json.dumps(curves))


def _graph(runs: Path) -> None:
    def job(row, leaf, stage, module, argv, outputs, gpus=8):
        name = f"{row}/{leaf}" if row else leaf
        asked = {"gpus": gpus, "cpus": 6, "mem_gb": 24, "hours": 24}
        places = {"folder": name, "outputs": [f"{name}/{output}" for output in outputs], "needs": []}
        return {"name": name, "row": row, "stage": stage, "module": module, "argv": argv, "resources": asked, **places}

    transfer = ("moco-c4-1x-coco_2017", "transfer", "transfer.train", ["--protocol", "moco-c4-1x"], ["result.json"])
    argv = ["--method", "matrix_ssl", "optim.lr=0.1 <b>"]
    jobs = [job("matrix_ssl-demo-seed0", "pretrain", "pretrain", "pretrain.train", argv, ["backbone.pth"])]
    jobs += [job(row, *transfer) for row in ("matrix_ssl-demo-seed0", "byol-demo-seed0", "vicreg-demo-seed0")]
    jobs += [job("", "report", "report", "analysis.report", ["runs"], ["report.html"], gpus=0)]
    home = runs / "jobs" / "matrix_ssl-demo-seed0" / "pretrain"
    home.mkdir(parents=True)
    (home / "done.json").write_text(json.dumps({"argv": argv, "seconds": 3600.0, "commit": "abc123"}))
    (runs / "jobs" / "graph.json").write_text(json.dumps(jobs))
