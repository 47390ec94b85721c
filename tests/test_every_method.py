"""What every method promises: it learns from scenes, goes on where it was stopped, and its backbone converts."""

import json
import math

import pytest

from pretrain import methods, train, training_loop
from transfer.checkpoints.conversion import convert


class StopAfter:
    """A scheduler's signal that arrives during a given step."""

    exit_code = 75

    def __init__(self, step: int):
        self.left = step

    @property
    def signal(self) -> int | None:
        self.left -= 1
        return None if self.left else 15


@pytest.mark.parametrize("name", methods.available())
@pytest.mark.slow
def test_trains_on_scenes_stops_goes_on_and_converts(name, scenes, tmp_path, monkeypatch, capsys):
    root = scenes / ("classification/train" if name == "supervised" else "unlabelled")
    batch = 8 if name == "supervised" else 16  # three steps of each
    call = ["--method", name, "--recipe", "demo", "--out", str(tmp_path / "run"), f"data.root={root}", "epochs=1"]
    call += [f"batch_size={batch}", "precision=fp32", "data.workers=0", "optim.warmup_epochs=0", "log.every=1"]
    monkeypatch.setattr(training_loop, "StopRequest", lambda: StopAfter(2))
    assert train.main(call) == 75 and "stopped at step 2 of 3" in capsys.readouterr().err
    assert not (tmp_path / "run" / "backbone.pth").exists()
    monkeypatch.setattr(training_loop, "StopRequest", lambda: StopAfter(-1))
    assert train.main(call) == 0

    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert all(line["effective_rank"] > 1.001 for line in lines)
    ledger = convert(tmp_path / "run" / "backbone.pth", tmp_path / "backbone.pkl")
    assert ledger["method"] == name
    # ResNet-50's tensors; those of a ViT of 4 blocks but for class token and last norm, which detectors do not have
    converted = 12 * 4 + 3 if methods.masks_patches(name) else 265
    assert sum("to" in entry for entry in ledger["tensors"].values()) == converted
    assert (tmp_path / "run" / "reconstructions.png").exists() == methods.masks_patches(name)
