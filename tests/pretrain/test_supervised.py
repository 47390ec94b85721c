import torch

from pretrain import checkpoint


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
