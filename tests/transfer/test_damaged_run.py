"""A fine-tuning run that was killed, with files damaged since, ends with the weights of an undisturbed one."""

import os
import shutil
from pathlib import Path

import pytest
import torch

from transfer import train
from transfer.detection.checkpointer import Checkpointer

pytestmark = pytest.mark.slow

NEWEST = "model_0000002.pth"


class Killed(BaseException):
    """The end of a process, as far as its files are concerned."""


@pytest.fixture(scope="module")
def words(command):
    settings = {"SOLVER__MAX_ITER": 4, "SOLVER__CHECKPOINT_PERIOD": 1, "TRANSFER__PICTURES": 0}
    return lambda out: command(out, **settings)


@pytest.fixture(scope="module")
def calm(words, tmp_path_factory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("calm") / "run"
    assert train.main(words(out)) == 0
    return out


@pytest.fixture(scope="module")
def half(words, tmp_path_factory) -> Path:
    """What is left of a run that was killed after its third iteration of four."""
    out, tag = tmp_path_factory.mktemp("half") / "run", Checkpointer.tag_last_checkpoint

    def tag_and_die(self, name: str) -> None:
        tag(self, name)
        if name == NEWEST:
            raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Checkpointer, "tag_last_checkpoint", tag_and_die)
        train.main(words(out))
    return out


def cut(path: Path, share: float = 0.5) -> None:
    os.truncate(path, int(path.stat().st_size * share))


def overwrite_with_zeros(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(bytes(1 << 20))


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


DAMAGES = {
    "newest checkpoint cut": lambda out: cut(out / NEWEST),
    "newest checkpoint gone": lambda out: (out / NEWEST).unlink(),
    "zeros in the newest checkpoint": lambda out: overwrite_with_zeros(out / NEWEST),
    "last_checkpoint gone": lambda out: (out / "last_checkpoint").unlink(),
    "last_checkpoint elsewhere": lambda out: (out / "last_checkpoint").write_text("../../etc/passwd"),
    "run.json cut": lambda out: cut(out / "run.json"),
    "run.json a list": lambda out: (out / "run.json").write_text("[]"),
    "half a line of metrics": lambda out: append(out / "metrics.json", '{"iter'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_goes_on_to_the_same_weights_and_predictions(damage, words, calm, half, tmp_path):
    out = tmp_path / "odd?[na]me#"
    shutil.copytree(half, out)
    DAMAGES[damage](out)
    check_same_end(words, out, calm)


def test_a_damaged_result_is_made_again(words, calm, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(calm, out)
    cut(out / "result.json")
    check_same_end(words, out, calm)


def test_a_complete_run_is_tidied_up(words, calm, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(calm, out)
    (out / "model_0000003.pth").write_bytes(b"x")
    (out / ".x.pth.h-1.tmp").write_bytes(b"x")
    assert train.main(words(out)) == 0
    assert not (out / "model_0000003.pth").exists() and not (out / ".x.pth.h-1.tmp").exists()


def check_same_end(words, out: Path, calm: Path) -> None:
    """Give the command again: it ends as the undisturbed run did, and leaves nothing else."""
    assert train.main(words(out)) == 0
    expected, state = (torch.load(run / "model_final.pth", weights_only=True)["model"] for run in (calm, out))
    assert expected.keys() == state.keys() and all(torch.equal(expected[name], state[name]) for name in expected)
    assert (out / "predictions.json.gz").read_bytes() == (calm / "predictions.json.gz").read_bytes()
    assert (out / "result.json").exists() and not list(out.glob("model_0*.pth"))
