"""Jobs run the code as it was when they were submitted."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from runtime import job_records, provenance
from runtime.command_line import UserError
from runtime.job_records import Done
from slurm.submitting import snapshot

pytestmark = pytest.mark.slow

ASK = "import runtime.provenance as p; print(p.ROOT, p.commit())"


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A small git repository in place of ours."""
    root = tmp_path / "checkout"
    (root / "pretrain").mkdir(parents=True)
    (root / "runtime").mkdir()
    (root / "pretrain" / "__init__.py").write_text("")
    (root / "runtime" / "__init__.py").write_text("")
    (root / "runtime" / "provenance.py").write_text(Path(provenance.__file__).read_text())
    (root / "notes.txt").write_text("no code\n")
    for command in ("init -q", "add .", "-c user.name=n -c user.email=e commit -q -m first"):
        subprocess.run(["git", "-C", str(root), *command.split()], check=True)
    monkeypatch.setattr(provenance, "ROOT", root)
    monkeypatch.setattr(snapshot, "ROOT", root)
    provenance.commit.cache_clear()
    yield root
    provenance.commit.cache_clear()


def test_a_commit_is_twelve_digits_and_a_change_to_the_code_adds_the_hash_of_it(checkout):
    def commit():
        provenance.commit.cache_clear()
        return provenance.commit()

    clean = commit()
    assert len(clean) == 12
    (checkout / "notes.txt").write_text("still no code\n")
    assert commit() == clean
    (checkout / "pretrain" / "new.py").write_text("A = 1\n")
    first = commit()
    (checkout / "pretrain" / "new.py").write_text("A = 2\n")
    second = commit()
    assert first != second and {len(first), len(second)} == {21} and first.startswith(f"{clean}+")


def test_the_copy_is_taken_once_and_knows_its_commit(checkout, tmp_path):
    (checkout / "pretrain" / "new.py").write_text("A = 1\n")
    copy = snapshot.take(tmp_path / "runs")
    assert snapshot.take(tmp_path / "runs") == copy and copy.parent == tmp_path / "runs" / ".code"
    (checkout / "pretrain" / "new.py").write_text("A = 2\n")
    assert (copy / "pretrain" / "new.py").read_text() == "A = 1\n"
    said = subprocess.run([sys.executable, "-c", ASK], cwd=copy, capture_output=True, text=True, check=True).stdout
    assert said.split() == [str(copy), json.loads((copy / "snapshot.json").read_text())["commit"]]
    assert not list(copy.parent.glob("*.tmp")) and not (copy / "notes.txt").exists()


@pytest.mark.parametrize("where", ["local", "slurm"])
def test_a_job_runs_the_copy_even_when_submitted_from_the_checkout(suite, fake_slurm, where, monkeypatch):
    Path("pretrain").mkdir()  # where Python would look first: the folder of the one who submits
    Path("pretrain/__init__.py").write_text("raise RuntimeError('the live code')\n")
    assert suite.main("--cluster", where, "--stage", "train", "--methods", "random") == 0
    if where == "slurm":
        fake_slurm.run_queue()
    copy = next(Path("runs/.code").iterdir())
    record = job_records.read(Path("runs/jobs/random-seed0/train"), Done)
    assert record.commit == json.loads((copy / "snapshot.json").read_text())["commit"]


RECIPE = ("--cluster", "slurm", "--stage", "train", "--methods", "random", "train.recipe=mine.yaml")


@pytest.mark.parametrize("how, epochs", [([], 2), (["--export-sbatch", "out"], 2), (["--live-code"], 3)])
def test_a_job_runs_the_recipe_as_it_was_when_submitted(suite, fake_slurm, how, epochs):
    recipe = Path("mine.yaml")
    recipe.write_text("epochs: 2\n")
    assert suite.main(*RECIPE, *how) == 0
    if "out" in how:
        subprocess.run(["sh", "out/submit.sh"], check=True, capture_output=True)
    recipe.write_text("epochs: 3\n")
    with pytest.raises(UserError, match="random-seed0/train is in the queue as job 101 with other settings"):
        suite.main(*RECIPE)
    fake_slurm.run_queue()
    said = Path("runs/random-seed0/train/recipe.txt").read_text()
    assert f"'epochs': {epochs}" in said and said.startswith("[('mine.yaml'"), "under the name that the user gave it"
    if epochs == 3:
        return
    recipe.write_text("# two are enough\nepochs:  2\n")
    assert suite.main(*RECIPE) == 0
    assert suite.calls("random-seed0/train") == 1 and len(fake_slurm.jobs()) == 2, "the recipe it was made with: done"


def test_live_code_makes_no_copy(suite):
    assert suite.main("--cluster", "local", "--stage", "train", "--methods", "random", "--live-code") == 0
    assert not Path("runs/.code").exists()
