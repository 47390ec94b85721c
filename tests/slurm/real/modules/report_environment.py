"""A stage that writes down the environment of each task of a job, and does nothing else."""

import json
import os
import sys
import time
from pathlib import Path

from runtime.command_line import Parser

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
OF_SLURM = ("SLURM_CPUS_PER_TASK", "SLURMD_NODENAME", "SLURM_RESTART_COUNT")


def parser():
    parser = Parser()
    parser.add_argument("--out", type=Path, required=True)
    return parser


def parse(argv):
    return parser().parse_args(argv)


def main(argv):
    folder = parse(argv).out
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: os.environ.get(name) for name in NAMES + OF_SLURM}
    rank = os.environ.get("RANK", "0")
    (folder / f"rank{rank}.json").write_text(json.dumps(found))
    requeues = int(os.environ.get("REQUEUES", 0))
    if int(os.environ.get("SLURM_RESTART_COUNT", 0)) < requeues:
        return os.EX_TEMPFAIL  # as a stage that was asked to save
    time.sleep(float(os.environ.get("LASTS_S", 0)))
    print("reported", file=sys.stderr)
    (folder / "out.txt").write_text("reported\n")
    return 0
