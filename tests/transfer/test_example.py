"""The example in examples/, on drawn scenes, with a checkpoint that is written as MoCo v2's is."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "examples/from_checkpoint_to_ap_table.py"

SMALL = ["SOLVER.MAX_ITER=2", "SOLVER.STEPS=[]", "SOLVER.IMS_PER_BATCH=2", "TEST.PRECISE_BN.NUM_ITER=1"]


@pytest.mark.slow
def test_a_downloaded_checkpoint_becomes_a_row_of_the_table(scenes, trunk, published, tmp_path):
    checkpoint = tmp_path / "moco_v2_800ep_pretrain.pth.tar"
    torch.save(published.moco_v2(trunk, trunk), checkpoint)
    call = [sys.executable, SCRIPT, checkpoint, "--out", tmp_path / "runs", "--data", scenes]
    call += ["--protocol", "demo-fpn", "--benchmark", "scenes", *SMALL]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "runs/results/scenes-demo-fpn.csv").read_text()
    assert {line.split(",")[0] for line in table.splitlines()} == {"method", "random", "moco_v2"}
