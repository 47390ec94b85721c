"""The README's command lines do what they say."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"(<!-- walk.*?-->\n)?```\n(.*?)```", README, re.DOTALL)
WALK = [line for mark, block in BLOCKS if mark for line in block.splitlines()]
OTHERS = [line for mark, block in BLOCKS if not mark for line in block.splitlines() if line.startswith("python ")]

MISSING = "no folder|no .* at|does not exist|set DETECTRON2_DATASETS|not a folder of runs|has no graph of jobs"


def call(line: str, cwd: Path, *more: str) -> subprocess.CompletedProcess:
    _, script, *arguments = shlex.split(line)
    command = [sys.executable, str(ROOT / script), *arguments, *more]
    nowhere = {name: value for name, value in os.environ.items() if name != "SLURM_CONF"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env=nowhere)


@pytest.mark.slow
def test_the_walk_through_every_stage_by_hand(tmp_path):
    assert len(WALK) == 6
    for line in WALK:
        done = call(line, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    for name in ("pretrain/backbone.pth", "convert/conversion.json", "demo-fpn-scenes/predictions.png"):
        assert (tmp_path / "walk/row" / name).stat().st_size > 0
    table = (tmp_path / "walk/results/scenes-demo-fpn.md").read_text()
    assert "Matrix-SSL" in table and "box AP" in table and "kNN" in table


@pytest.mark.parametrize("line", OTHERS, ids=lambda line: " ".join(line.split()[1:6]))
@pytest.mark.slow
def test_the_other_command_lines_parse(line, tmp_path):
    """Their data is not here: a dry run succeeds, a stage gets as far as the first file it misses and names it."""
    if "run_all.py" in line:
        done = call(line, tmp_path, "--dry-run", "--cluster", "slurm")
        assert done.returncode == 0 and "python -m transfer.convert" in done.stdout
    elif "install_detectron2" in line:
        assert "kept" in call(line, tmp_path).stdout
    else:
        done = call(line, tmp_path)
        assert done.returncode == 2 and re.search(MISSING, done.stderr), done.stderr


def test_every_file_the_readme_names_is_there():
    for name in re.findall(r"\]\(([^)#]+)\)", README) + re.findall(
        r"`((?:pretrain|transfer|slurm|analysis)/[\w./-]+)`", README
    ):
        assert "NAME" in name or (ROOT / name).exists(), name
    assert {"make demo", "make test"} <= set(README.splitlines())
