"""What the graph itself costs: submitting it, planning it, looking at it, and the start of each of its jobs.

    python benchmarks/slurm.py                      against an sbatch that answers at once
    python benchmarks/slurm.py --cluster mine.yaml  against a real SLURM: the jobs are held, and cancelled at once

Each line is one process as a user starts it: its wall time, and the memory of its largest process.
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

if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]  # here `slurm` would be this very file

from pretrain.command_line import Parser, run
from pretrain.files import write_json
from pretrain.provenance import ROOT, commit
from slurm import ledger, remembered
from slurm.graph import build
from slurm.plan import load

SEEDS = 33
"""Six jobs a seed, the drawn images and the tables: 200 jobs."""

ROWS = 1000

START = """
import json, sys, time
began = time.time()
import torch
ready = time.time()
import pretrain.train
from slurm.job import StageCall
embed, first = pretrain.train.embed, []
def noted(*arguments):
    first.append(time.time())
    return embed(*arguments)
pretrain.train.embed = noted
out = sys.argv[1]
argv = ["--method", "simsiam", "--recipe", "demo", "--out", out + "/run", "epochs=1", "data.root=" + out + "/scenes/unlabelled"]
StageCall(module="pretrain.train", argv=tuple(argv), cwd=out, home=out + "/home")()
print(json.dumps({"torch": ready - began, "step": first[0] - ready}))
"""


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cluster", type=Path, metavar="FILE", help="yaml of a real cluster (default: no SLURM)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        lines = [*submission(folder, options.cluster), *dry_run(folder), *status(folder), *start(folder)]
    print(f"{hardware()}, {os.cpu_count()} cores, commit {commit()}\n")
    print("| what | wall time | memory | goal |\n|---|---|---|---|")
    for what, seconds, mib, goal in lines:
        print(f"| {what} | {seconds:.2f} s | {f'{mib:.0f} MiB' if mib else '–'} | {goal} |")


def timed(*command: object, cwd: Path, env: dict | None = None) -> tuple[float, float]:
    """Seconds, and MiB of the largest process, of a command that has to end well."""
    measured = (
        "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:], stdout=2).returncode; "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    began = time.monotonic()
    words = [sys.executable, "-c", measured, *map(str, command)]
    done = subprocess.run(words, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    seconds = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(done.stderr)
    return seconds, int(done.stdout.split()[-1]) / 1024


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
        seconds, mib = timed(sys.executable, script, *words, cwd=folder, env=env)
        if cluster:
            subprocess.run([sys.executable, str(ROOT / "slurm" / "cancel.py"), str(runs)], check=True, stdout=2)
        jobs = len(remembered.recall(runs))
        yield (
            f"submit {jobs} jobs {what}{'' if cluster else ', sbatch that answers at once'}",
            seconds,
            mib,
            "60 s, 300 MB",
        )


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
    seconds, mib = timed(sys.executable, ROOT / "slurm" / "run_all.py", *words, "--cluster", "slurm", cwd=folder)
    yield "--dry-run of 200 jobs, with their batch scripts", seconds, mib, "2 s"


def status(folder: Path):
    """A thousand rows, of which a third is done, a third has failed and a third was never begun."""
    runs = folder / "thousand"
    plan = load("demo", runs=runs, seeds=tuple(range(ROWS // 2)))
    jobs = build(plan, ["pretrain", "transfer"])
    remembered.remember(runs, jobs)
    for number, job in enumerate(jobs):
        home = ledger.home(runs, job.name)
        if number % 3 == 2:
            continue
        log = home / "1_0_log.err"
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("12:00:00 pretrain simclr 30/250 (12%)  1:00 gone, 7:20 to go\nerror: out of memory\n")
        ledger.mark_submitted(runs, job, "local", "1", log=log)
        if number % 3 == 0:
            write_json(home / "done.json", {"argv": list(job.argv), "seconds": 1.0, "commit": "0"})
            for path in job.outputs:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    seconds, mib = timed(
        sys.executable,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, {str(ROOT / 'slurm' / 'status.py')!r}, {str(runs)!r}])",
        cwd=folder,
    )
    yield f"status.py of {ROWS} runs, {len(jobs)} jobs", seconds, mib, "3 s"


def start(folder: Path):
    """From the start of a job's process to the first training step, less what importing torch takes."""
    out = folder / "start"
    made = [sys.executable, ROOT / "pretrain" / "scenes.py", "--out", out / "scenes", "--images", "200", "--size", "64"]
    subprocess.run([*map(str, made)], check=True, capture_output=True)
    ends = [subprocess.run([sys.executable, "-c", START, str(out)], capture_output=True, text=True, cwd=out)]
    if ends[0].returncode:
        raise RuntimeError(ends[0].stderr)
    found = json.loads(ends[0].stdout.splitlines()[-1])
    yield f"job start to first step, beyond {found['torch']:.1f} s of importing torch", found["step"], 0, "3 s"


def hardware() -> str:
    """The name of the processor."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.processor()


if __name__ == "__main__":
    run(main)
