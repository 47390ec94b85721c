import math

import pytest
import torch
from torch import nn

from pretrain.checkpoints import checkpoint
from pretrain.methods import Embeddings, supervised


class Trunk(nn.Identity):
    """A trunk of which only the width is asked."""

    width = 8


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    network = supervised.Method(Trunk(), supervised.Config(classes=3))
    return network.loss_terms(Embeddings((logits,), (), labels))["cross_entropy"].item()


def test_loss_is_minus_the_mean_log_probability_of_the_labels():
    """Softmax written out; the same for logits that all gain a constant; log K where all classes are alike."""
    logits = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], dtype=torch.float64)
    labels = torch.tensor([2, 1])
    rows = [[math.exp(value) for value in row] for row in logits.tolist()]
    expected = -(math.log(rows[0][2] / sum(rows[0])) + math.log(rows[1][1] / sum(rows[1]))) / 2
    assert cross_entropy(logits, labels) == pytest.approx(expected, abs=1e-12)
    assert cross_entropy(logits + 7, labels) == pytest.approx(expected, abs=1e-12)
    assert cross_entropy(0 * logits, labels) == pytest.approx(math.log(3))


def test_learns_from_the_class_folders(command, scenes, tmp_path):
    """Eight classes of drawn objects, one folder each."""
    out = tmp_path / "run"
    root = f"data.root={scenes / 'classification' / 'train'}"
    settings = ["batch_size=8", "views.size=32", "precision=fp32", "data.workers=1", "epochs=1", "log.every=1"]
    done = command(
        "pretrain/train.py", "--method", "supervised", "--out", str(out), root, "method.classes=8", *settings
    )
    assert done.returncode == 0, done.stderr
    assert checkpoint.read_backbone(out / "backbone.pth")["method"] == "supervised"
    classifier = checkpoint.read(out / "checkpoint.pth")["model"]["classifier.weight"]
    assert classifier.shape == (8, 2048) and torch.isfinite(classifier).all()


def test_classes_that_do_not_fit_are_one_line(refused, scenes, tmp_path):
    arguments = ["pretrain/train.py", "--method", "supervised", "--out", str(tmp_path / "run"), "batch_size=8"]
    root = f"data.root={scenes / 'classification' / 'train'}"
    assert "method.classes=1000, but data.root has 8" in refused(*arguments, root)
    assert "has 0" in refused(*arguments, f"data.root={scenes / 'unlabelled'}")
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_views_that_do_not_fit_a_method_are_one_line(refused, scenes, tmp_path):
    root = f"data.root={scenes / 'unlabelled'}"
    for method, setting, found in (("simsiam", "views.small=2", 4), ("supervised", "views.recipe=symmetric", 2)):
        arguments = ["--method", method, "--out", str(tmp_path / "run"), "batch_size=8"]
        message = refused("pretrain/train.py", *arguments, root, setting)
        assert f"{method} takes" in message and f"makes {found}" in message
