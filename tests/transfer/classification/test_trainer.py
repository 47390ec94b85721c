"""Training a classifier, on drawn features where the answer is known."""

import math
import os
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pretrain.checkpoints import checkpoint
from runtime.command_line import UserError
from runtime.stopping import Stopped
from transfer.classification import trainer
from transfer.classification.batches import FeatureData
from transfer.classification.classifier import Classifier
from transfer.classification.classifier_protocol import Settings, load
from transfer.classification.trainer import Training

SETTINGS = Settings(epochs=4, batch_size=20, lr=1.0)


def drawn(settings: Settings, *, classes: int = 6, wrong: bool = False) -> FeatureData:
    """120 + 60 features, each class around a corner of a simplex, in 6 of the 2048 dimensions; ``wrong``: validation
    labels are the next class."""
    data, generator = FeatureData.__new__(FeatureData), torch.Generator().manual_seed(0)

    def half(count: int, shift: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(count) % classes
        noise = F.pad(torch.randn(count, 6, generator=generator), (0, 2042))
        return 5 * torch.eye(classes, 2048)[labels] + 0.5 * noise, (labels + shift) % classes

    data.rows, data.val_rows = half(120), half(60, shift=int(wrong))
    data.settings, data.seed, data.count, data.val_count = settings, 0, 120, 60
    return data


def training(settings: Settings, folder, **drawing) -> Training:
    data = drawn(settings, **drawing)
    network = Classifier(nn.Identity(), 2048, drawing.get("classes", 6), settings, seed=0)
    return Training(network, data, settings, folder, label="probe")


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("protocol", ["linear-matrix-ssl", "linear-moco", "linear-vicreg", "linear-simclr"])
def test_separable_features_are_separated(protocol, batch_norm, tmp_path):
    settings = replace(load(protocol, [])[0], epochs=5, batch_size=20, batch_norm=batch_norm, scale_lr=False)
    settings = replace(settings, lr=100.0 if settings.optimizer == "lars" else 3.0)  # 30 steps, not 30,000
    last = training(settings, tmp_path).run()[-1]
    assert (last["top1"], last["top5"]) == (100.0, 100.0)


def test_shifted_labels_are_never_met(tmp_path):
    """The same features, every validation label one off: what is learnt is the class, so nothing is right."""
    assert training(SETTINGS, tmp_path, wrong=True).run()[-1]["top1"] == 0.0


def test_fewer_than_six_classes_have_no_top5(tmp_path):
    last = training(SETTINGS, tmp_path, classes=3).run()[-1]
    assert last["top1"] == 100.0 and "top5" not in last


def test_the_last_epoch_is_evaluated_even_when_it_is_not_due(tmp_path):
    history = training(replace(SETTINGS, evaluate_every=3), tmp_path).run()
    assert [epoch["epoch"] for epoch in history if "top1" in epoch] == [3, 4]
    assert [epoch["lr"] for epoch in history] == pytest.approx([(1 + math.cos(math.pi * e / 4)) / 2 for e in range(4)])


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "lars"])
@pytest.mark.parametrize("stopped_after", [1, 6, 13])
def test_interrupted_anywhere_it_goes_on_to_the_same_weights(optimizer, stopped_after, tmp_path):
    """Six steps an epoch: within the first, at the very end of it (so the evaluation is still owed), in the third."""
    settings = replace(SETTINGS, optimizer=optimizer, batch_norm=True)
    whole = training(settings, tmp_path / "whole")
    expected = whole.run()

    broken = training(settings, tmp_path / "broken")
    usual = broken._train_step

    def step(inputs, labels):
        loss = usual(inputs, labels)
        if broken.step == stopped_after:
            broken.stop.signal = 15
        return loss

    broken._train_step = step
    with pytest.raises(Stopped):
        broken.run()
    resumed = training(settings, tmp_path / "broken")
    assert resumed.step == stopped_after and len(resumed.history) == (stopped_after - 1) // 6
    assert resumed.run() == expected
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def _without(key: str):
    def damage(file):
        content = checkpoint.read(file)
        checkpoint.save(file, {name: value for name, value in content.items() if name not in (key, "checksum")})

    return damage


def _without_checksum(file):
    content = checkpoint.read(file)
    torch.save({name: value for name, value in content.items() if name != "checksum"}, file)


def _of_other_shapes(file):
    checkpoint.save(file, {**checkpoint.read(file), "network": {"linear.bias": torch.zeros(3)}})


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: os.truncate(file, 1000),
        lambda file: file.write_bytes(b""),
        lambda file: torch.save([1], file),
        _without("format"),
        _without("optimizer"),
        _without("history"),
        _of_other_shapes,
        _without_checksum,
    ],
    ids=["truncated", "empty", "list", "no format", "no optimizer", "no history", "other shapes", "no checksum"],
)
def test_a_damaged_checkpoint_is_one_line_whose_remedy_works(damage, tmp_path):
    settings = replace(SETTINGS, epochs=1)
    expected, file = training(settings, tmp_path).run(), tmp_path / "checkpoint.pth"
    damage(file)
    with pytest.raises(UserError, match=f"^cannot resume; delete {file} to start over .*$"):
        training(settings, tmp_path)
    file.unlink()
    assert training(settings, tmp_path).run() == expected


def test_a_loss_that_is_no_number_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"the loss is (inf|nan) at step \d+; lower lr"):
        training(replace(SETTINGS, lr=1e38), tmp_path).run()


def test_batches_that_cannot_be(monkeypatch):
    with pytest.raises(UserError, match="batch_size=4096 is more than the 120 training images"):
        trainer.steps_per_epoch(120, Settings(batch_size=4096))
    monkeypatch.setattr(trainer.distributed, "world_size", lambda: 3)
    with pytest.raises(UserError, match="batch_size=256 cannot be shared by 3 processes"):
        trainer.steps_per_epoch(1000, Settings(batch_size=256))
