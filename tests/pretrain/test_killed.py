"""SIGKILL at any event of the file system: the same command ends with the bits of an undisturbed run, and no strays."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pretrain.checkpoints import checkpoint

KILLS = Path(__file__).parent.parent / "kills.py"
FULL = bool(os.environ.get("FULL_KILLS"))
"""Kill at every event, not at a sample of them."""


def given_again(scenes: Path, out: Path, kills: list[int]) -> dict:
    arguments = ["--method", "simsiam", "--recipe", "demo", "--out", str(out), f"data.root={scenes / 'unlabelled'}"]
    arguments += ["batch_size=16", "epochs=1", "views.size=32", "precision=fp32", "data.workers=0", "optim.name=sgd"]
    arguments += ["log.every=1", "log.checkpoint_every=1", "log.collapse_rank=0", "device=cpu"]
    arguments += ["method.projector_width=64", "method.predictor_width=32"]
    command = [sys.executable, str(KILLS), "pretrain.train", str(out), *map(str, kills), "--", *arguments]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "IMPORTED_FIRST": "pretrain.training_loop,torch.utils.tensorboard"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=1500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def left(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*") if "tfevents" not in path.name}


def log(out: Path) -> list[dict]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "images_per_s"} for line in lines]


@pytest.fixture(scope="module")
def calm(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("calm") / "run"
    return out, given_again(scenes, out, [])["events"]


def test_a_run_killed_again_and_again_ends_as_if_nothing_had_happened(scenes, tmp_path, calm):
    undisturbed, events = calm
    kills = [*range(1, 8), *range(10, events, 1 if FULL else 9)]
    ended = given_again(scenes, tmp_path / "run", kills)
    assert ended["status"] == 0 and ended["killed"] >= 8
    assert left(tmp_path / "run") == left(undisturbed) and log(tmp_path / "run") == log(undisturbed)
    backbones = [checkpoint.read(out / "backbone.pth") for out in (tmp_path / "run", undisturbed)]
    assert backbones[0]["checksum"] == backbones[1]["checksum"]
