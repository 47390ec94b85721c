"""CPU time, memory and size of the bookkeeping over finished rows: tables, report, status and a dry run, at two sizes.

    python benchmarks/bookkeeping.py [--rows 500 2000] [--out DIR]

Each command runs in a process of its own on a drawn runs folder: a row has a pretraining log, a detector's log, a
result and the records of its two jobs; five seeds make a backbone. Growth is linear if no larger than that of the rows.
"""

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SEEDS = 5
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
LIMITS = {"tables": (5, 200), "report": (10, 300), "status": (1, None), "dry run": (3, None)}
"""Seconds of CPU and MB that 2,000 rows may take."""

PAGE_MB = 3


def result(method: str, seed: int, values: random.Random) -> dict:
    common = {"method": method, "recipe": "demo", "variant": "", "epochs": 7, "benchmark": "scenes", "seed": seed}
    common |= {"protocol": "demo-fpn", "commit": "0123456789ab", "n": 300, "source": "measured"}
    common |= {"weights_sha256": hashlib.sha256(f"{method}{seed}".encode()).hexdigest()}
    records = [
        {**common, "task": task, "metric": metric, "value": values.random() * 50}
        for task in ("bbox", "segm")
        for metric in METRICS
    ]
    return {"protocol_version": 1, "scale": 1, "changed_from_protocol": {}, "wall_s": 60.0, "records": records}


def write_row(runs: Path, method: str, seed: int, values: random.Random) -> list[dict]:
    """A finished row; its entries in the graph."""
    row = f"{method}-demo-seed{seed}"
    pretrain, detector = runs / row / "pretrain", runs / row / "demo-fpn-scenes"
    for folder in (pretrain, detector):
        folder.mkdir(parents=True)
    (detector / "result.json").write_text(json.dumps(result(method, seed, values), indent=1))
    steps = [{"iteration": i, "total_loss": 3 / (i + 1), "lr": 0.02} for i in range(0, 200, 20)]
    (detector / "metrics.json").write_text("".join(json.dumps(step) + "\n" for step in steps))
    config = "method: simsiam\nrecipe: demo\nsettings:\n  epochs: 7\n  optim:\n    lr: 0.1\n"
    (pretrain / "config.yaml").write_text(config)
    log = [{"step": step, "loss": 1 / step, "effective_rank": 3 + step / 100} for step in range(10, 330, 10)]
    (pretrain / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
    (pretrain / "backbone.pth").touch()
    stages = (("pretrain", "pretrain", "backbone.pth"), ("demo-fpn-scenes", "transfer", "result.json"))
    return [write_job(runs, row, leaf, stage, output, method, seed) for leaf, stage, output in stages]


def write_job(runs: Path, row: str, leaf: str, stage: str, output: str, label: str, seed: int) -> dict:
    name = f"{row}/{leaf}"
    home, argv = runs / "jobs" / name, ["--out", f"runs/{name}"]
    home.mkdir(parents=True)
    (home / "done.json").write_text(json.dumps({"argv": argv, "seconds": 60.0, "commit": "0123456789ab"}))
    submitted = {"executor": "slurm", "job_id": "1", "host": "login", "argv": argv, "log": f"jobs/{name}/1_0_log.err"}
    (home / "submitted.json").write_text(json.dumps(submitted))
    (home / "1_0_log.err").write_text("17:00:00 pretrain 322/322 (100%)\n")
    resources = {"gpus": 1, "cpus": 1, "mem_gb": 1, "hours": 1}
    entry = {"name": name, "row": row, "stage": stage, "module": f"{stage}.train", "argv": argv, "folder": name}
    return {**entry, "outputs": [f"{name}/{output}"], "needs": [], "label": label, "seed": seed, "resources": resources}


def write_runs(runs: Path, rows: int) -> None:
    values = random.Random(0)
    graph = []
    for k in range(rows):
        graph += write_row(runs, f"method{k // SEEDS}", k % SEEDS, values)
    (runs / "jobs" / "graph.json").write_text(json.dumps(graph))


def write_preset(path: Path, rows: int) -> None:
    """As many rows to come, for the dry run."""
    variants = "".join(
        f'  "lr={k}": {{method: simsiam, settings: {{optim.lr: 0.{k + 1}}}}}\n' for k in range(rows // SEEDS)
    )
    rest = "recipe: demo\nprotocols: [demo-fpn]\nbenchmarks: [scenes]\nsettings: {data: {images: 64, size: 32}}\n"
    seeds = ", ".join(map(str, range(SEEDS)))
    path.write_text(f"methods: [random]\nvariants:\n{variants}seeds: [{seeds}]\n{rest}")


def measure(words: list[str], folder: Path) -> tuple[float, float]:
    """Seconds of CPU, which other work on the machine hardly changes, and peak MB. Raises RuntimeError if it fails."""
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen([sys.executable, *words], cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        if os.waitstatus_to_exitcode(status):
            output.seek(0)
            raise RuntimeError(f"{words[0]} failed: {output.read()[-500:]}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def commands(folder: Path, runs: Path) -> dict[str, list[str]]:
    def command(script: str, *words: str) -> list[str]:
        return [str(ROOT / script), *words]

    page, preset = str(folder / "report.html"), str(folder / "preset.yaml")
    dry_run = ["--stage", "pretrain,transfer", "--preset", preset, "--runs", str(folder / "to-come"), "--dry-run"]
    dry_run += ["--cluster", "slurm", "pretrain.resources.gpus=0", "transfer.resources.gpus=0"]
    return {
        "tables": command("analysis/tables.py", str(runs)),
        "report": command("analysis/report.py", str(runs), "--out", page),
        "status": command("slurm/status.py", str(runs)),
        "dry run": command("slurm/run_all.py", *dry_run),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs=2, default=[500, 2000], metavar="N", help="two sizes (500 2000)")
    parser.add_argument("--out", type=Path, help="folder for the drawn runs (a temporary one)")
    options = parser.parse_args()
    figures: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(dir=options.out) as temporary:
        for rows in options.rows:
            folder = Path(temporary) / str(rows)
            write_runs(folder / "runs", rows)
            write_preset(folder / "preset.yaml", rows)
            for name, words in commands(folder, folder / "runs").items():
                figures.setdefault(name, []).append(measure(words, folder))
            page_mb = (folder / "report.html").stat().st_size / 1e6
            print(f"report of {rows} rows: {page_mb:.1f} MB of HTML (at most {PAGE_MB})", flush=True)
    small, large = options.rows
    print(f"{'':10s}{f'{small} rows':>20s}{f'{large} rows':>20s}{'growth':>10s}   of rows {large / small:.1f}")
    slow = []
    for name, (first, second) in figures.items():
        cells = "".join(f"{f'{seconds:.1f} s, {mb:.0f} MB':>20s}" for seconds, mb in (first, second))
        print(f"{name:10s}{cells}{second[0] / first[0]:>10.1f}")
        seconds, mb = LIMITS[name]
        if second[0] > seconds or (mb and second[1] > mb):
            slow.append(f"{name}: more than {seconds} s" + (f" or {mb} MB" if mb else ""))
    print("\n".join(slow) or "within the limits")
    return int(bool(slow))


if __name__ == "__main__":
    sys.exit(main())
