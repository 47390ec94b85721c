"""What the graph itself costs: submitting it, planning it, looking at it, and the start of each of its jobs.

    python benchmarks/slurm.py                      against an sbatch that answers at once
    python benchmarks/slurm.py --cluster mine.yaml  against a real SLURM: the jobs are held, and cancelled at once

Each line is one command as a user gives it: its wall time, its processor time (what the wall time would be on a
machine that does nothing else), and the memory of its largest process.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]  # here `slurm` would be this very file

from runtime import job_graph, job_records
from runtime.command_line import Parser, run
from runtime.files import write_json
from runtime.provenance import ROOT, commit
from slurm.planning import presets
from slurm.planning.graph import build

SEEDS = 33
"""Six jobs a seed, the drawn images, tables and report: 201 jobs."""

ROWS = 1000

START = """
import json, sys, time
from time import process_time as cpu, time as wall
began = wall(), cpu()
import torch
ready = wall(), cpu()
import pretrain.training_loop
from slurm.running.stage_call import StageCall
embed, first = pretrain.training_loop.embed, []
def noted(*arguments):
    first.append((wall(), cpu()))
    return embed(*arguments)
pretrain.training_loop.embed = noted
out = sys.argv[1]
argv = ["--method", "simsiam", "--recipe", "demo", "--out", out + "/run", "epochs=1"]
argv += ["data.root=" + out + "/scenes/unlabelled"]
StageCall(module="pretrain.train", argv=tuple(argv), cwd=out, home=out + "/home")()
print(json.dumps([ready[0] - began[0], first[0][0] - ready[0], first[0][1] - ready[1]]))
"""


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", type=Path, metavar="FILE", help="yaml of a real cluster (default: no SLURM)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        lines = [*submission(folder, options.cluster), *dry_run(folder), *status(folder), *start(folder)]
    print(f"{hardware()}, {os.cpu_count()} cores, commit {commit()}\n")
    print("| what | wall time | processor | memory | goal |\n|---|---|---|---|---|")
    for what, cost, goal in lines:
        memory = f"{cost.mib:.0f} MiB" if cost.mib else "–"
        print(f"| {what} | {cost.wall_s:.2f} s | {cost.cpu_s:.2f} s | {memory} | {goal} |")


class Cost(NamedTuple):
    """What a command took."""

    wall_s: float
    cpu_s: float
    mib: float = 0


def timed(*command: object, cwd: Path, env: dict | None = None, well: int = 0) -> Cost:
    """The cost of a command. Raises RuntimeError if it ends with another code than ``well``."""
    measured = (
        "import resource as r, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=2).returncode; "
        "u = r.getrusage(r.RUSAGE_CHILDREN); print(u.ru_utime + u.ru_stime, u.ru_maxrss); sys.exit(code)"
    )
    began = time.monotonic()
    words = [sys.executable, "-c", measured, *map(str, command)]
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if done.returncode != well:
        raise RuntimeError(done.stderr)
    cpu_s, kib = map(float, done.stdout.split())
    return Cost(seconds, cpu_s, kib / 1024)


def submission(folder: Path, cluster: Path | None):
    """The demo's graph over 33 seeds, as arrays and one by one."""
    seeds = ",".join(map(str, range(SEEDS)))
    for what, largest in (("as arrays", 1000), ("each by itself", 1)):
        runs = folder / f"runs{largest}"
        place = folder / f"place{largest}.yaml"
        text = cluster.read_text() if cluster else "executor: slurm\n"
        place.write_text(f"{text}\nmax_array: {largest}\nextra: {{hold: true}}\n")
        env = {} if cluster else {"PATH": f"{answering(folder)}:{os.environ['PATH']}"}
        script = ROOT / "slurm" / "run_all.py"
        words = ["--stage", "pretrain,transfer", "--seeds", seeds, "--cluster", place, "--runs", runs]
        cost = timed(sys.executable, script, *words, cwd=folder, env=env)
        if cluster:
            subprocess.run([sys.executable, str(ROOT / "slurm" / "cancel.py"), str(runs)], check=True, stdout=2)
        jobs = len(job_graph.load(runs))
        yield f"submit {jobs} jobs {what}{'' if cluster else ', to nobody'}", cost, "60 s, 300 MB"


def answering(folder: Path) -> Path:
    """A folder with an sbatch that takes every script, and a queue that is always empty."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    for name, text in (("sbatch", f"echo x >> {folder}/count; echo Submitted batch job $(wc -l < {folder}/count)"),):
        (commands / name).write_text(f"#!/bin/sh\n{text}\n")
    for name in ("squeue", "sinfo", "srun"):
        (commands / name).write_text("#!/bin/sh\n")
    for path in commands.iterdir():
        path.chmod(0o755)
    return commands


def dry_run(folder: Path):
    words = ["--stage", "pretrain,transfer", "--seeds", ",".join(map(str, range(SEEDS))), "--dry-run"]
    cost = timed(
        sys.executable, ROOT / "slurm" / "run_all.py", *words, "--cluster", folder / "place1000.yaml", cwd=folder
    )
    yield "--dry-run of the same, with the batch scripts", cost, "2 s"


def status(folder: Path):
    """A thousand rows, of which a third is done, a third has failed and a third was never begun."""
    runs = folder / "thousand"
    plan = presets.experiment(presets.load("demo"), runs=runs, seeds=tuple(range(ROWS // 2)))
    jobs = build(plan, ["pretrain", "transfer"])
    job_graph.save(runs, jobs)
    for number, job in enumerate(jobs):
        home = job_records.home(runs, job.name)
        if number % 3 == 2:
            continue
        log = home / "1_0_log.err"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("12:00:00 pretrain simclr 30/250 (12%)  1:00 gone, 7:20 to go\nerror: out of memory\n")
        job_records.write_submission(runs, job, "local", "1", log=log)
        if number % 3 == 0:
            write_json(home / "done.json", {"argv": list(job.argv), "seconds": 1.0, "commit": "0"})
            for path in job.outputs:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    cost = timed(sys.executable, ROOT / "slurm" / "status.py", runs, cwd=folder, well=1)  # some have failed
    yield f"status.py of {ROWS} runs, {len(jobs)} jobs", cost, "3 s"


def start(folder: Path):
    """From the start of a job's process to the first training step, less what importing torch takes."""
    out = folder / "start"
    made = [sys.executable, ROOT / "pretrain" / "scenes.py", "--out", out / "scenes", "--images", "200", "--size", "64"]
    subprocess.run([*map(str, made)], check=True, capture_output=True)
    done = subprocess.run([sys.executable, "-c", START, str(out)], capture_output=True, text=True, cwd=out)
    if done.returncode:
        raise RuntimeError(done.stderr)
    importing, wall_s, cpu_s = json.loads(done.stdout.splitlines()[-1])
    yield f"job start to first step, beyond {importing:.1f} s of importing torch", Cost(wall_s, cpu_s), "3 s"


def hardware() -> str:
    """The name of the processor."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.processor()


if __name__ == "__main__":
    run(main)
