import json

import numpy as np
import pytest
import torch

from analysis import tsne
from analysis.extraction import feature_file
from analysis.figures.embedding import of_first_classes, titles_of
from analysis.measures import embedding
from runtime.command_line import UserError

ABOUT = {"recipe": "demo", "variant": "", "epochs": 3, "seed": 1, "step": 9, "benchmark": "scenes", "layer": "backbone"}
CLASSES = ["ant", "bee", "cat"]


def clusters(seed: int = 0, n: int = 45) -> tuple[torch.Tensor, list[int]]:
    """Three far clusters of 15 points in 8 dimensions."""
    labels = [i % 3 for i in range(n)]
    noise = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
    return noise + 30 * torch.eye(8)[labels], labels


def features(path, method: str, *, seed: int = 0, prefix: str = "", variant: str = "", h=None) -> str:
    made, labels = clusters(seed)
    names = [f"{prefix}{i}.png" for i in range(len(labels))]
    about = {**ABOUT, "method": method, "variant": variant, "weights_sha256": method, "classes": CLASSES}
    h = made if h is None else h
    feature_file.write(path, h, labels=labels, names=names, views=None, about=about)
    return str(path)


def test_clusters_stay_clusters_and_every_panel_shows_the_same_images(tmp_path):
    paths = [features(tmp_path / f"{name}.safetensors", name, seed=i) for i, name in enumerate(["mec", "simsiam"])]
    tsne.main([*paths, "--out", str(tmp_path), "--classes", "3"])
    content = json.loads((tmp_path / "tsne-3.json").read_text())
    assert [panel["title"] for panel in content["panels"]] == ["MEC", "SimSiam"]
    labels = np.array(content["labels"])
    for panel in content["panels"]:
        points = np.array(panel["points"])
        assert points.shape == (45, 2) and panel["trustworthiness"] > 0.9
        centres = np.stack([points[labels == k].mean(0) for k in range(3)])
        nearest = np.linalg.norm(points[:, None] - centres, axis=2).argmin(1)
        assert (nearest == labels).all()
    assert (tmp_path / "tsne-3.png").exists() and "trustworthiness" in (tmp_path / "tsne-3.svg").read_text()


def test_first_classes_alone_and_not_more_than_there_are(tmp_path):
    path = features(tmp_path / "a.safetensors", "mec")
    tsne.main([path, "--out", str(tmp_path), "--classes", "10"])
    assert (tmp_path / "tsne-3.json").exists() and not (tmp_path / "tsne-10.json").exists()
    assert json.loads((tmp_path / "tsne.json").read_text())["pictures"] == ["tsne-3"]
    read = feature_file.read(path)
    two = of_first_classes(read, 2, None)
    assert sorted({int(read.y[i]) for i in two}) == [0, 1] and len(two) == 30
    assert len(of_first_classes(read, 2, 4)) == 8


def test_equal_pictures_look_equal_whatever_their_turn():
    points = np.random.default_rng(0).normal(size=(20, 2))
    angle = 2.0
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) @ np.diag([1, -1])
    assert np.allclose(embedding.turned(5 + points @ turn, points), points - points.mean(0))


def test_many_points_go_by_principal_components_and_opentsne(monkeypatch):
    monkeypatch.setattr(embedding, "MOST_EXACT", 59)
    seen = []

    class Embedding:
        def __init__(self, **settings):
            assert settings["random_state"] == 0

        def fit(self, rows):
            seen.append(rows.shape)
            return rows[:, :2]

    monkeypatch.setattr("openTSNE.TSNE", Embedding)  # the real one takes seconds even for few points
    h = np.random.default_rng(0).normal(size=(60, 64)).astype(np.float32)
    points, how = embedding.embed(h, "tsne", seed=0)
    assert points.shape == (60, 2) and seen == [(60, 50)] and how == "PCA to 50, then openTSNE's defaults"


def test_trustworthiness_of_many_points_asks_points_of_every_class():
    """Sorted by class: the first half keeps its neighbours in the picture, the second half lost them."""
    h = np.random.default_rng(0).normal(size=(200, 2))
    picture = np.concatenate([h[:100], np.random.default_rng(1).normal(size=(100, 2))])
    assert embedding.trustworthiness(h[:100], picture[:100]) == 1.0
    assert embedding.trustworthiness(h, picture, most=100) < 0.95


def test_titles_say_what_differs(tmp_path):
    a = feature_file.read(features(tmp_path / "a.safetensors", "mec"))
    b = feature_file.read(features(tmp_path / "b.safetensors", "mec", variant="gamma=2"))
    assert titles_of([a, b]) == ["MEC", "MEC (gamma=2)"]
    later = feature_file.Features(a.h, a.y, a.names, None, {**a.about, "seed": 2})
    assert titles_of([a, later]) == ["MEC, seed 1", "MEC, seed 2"]


def test_wrong_input_is_one_line(tmp_path, monkeypatch):
    out = ["--out", str(tmp_path)]
    a = features(tmp_path / "a.safetensors", "mec")
    with pytest.raises(UserError, match="features of different images"):
        tsne.main([a, features(tmp_path / "b.safetensors", "mec", prefix="x"), *out])
    with pytest.raises(UserError, match="unknown method 'pca'; known: tsne, umap"):
        tsne.main([a, *out, "--method", "pca"])
    with pytest.raises(UserError, match="--classes: expected whole numbers of at least 2"):
        tsne.main([a, *out, "--classes", "1"])
    with pytest.raises(UserError, match="needs more than 30 points, found 10"):
        tsne.main([a, *out, "--classes", "2", "--per-class", "5"])
    with pytest.raises(UserError, match="c.safetensors: all 45 images have the same features"):
        tsne.main([features(tmp_path / "c.safetensors", "mec", h=torch.ones(45, 8)), *out, "--classes", "3"])
    monkeypatch.setitem(__import__("sys").modules, "umap", None)
    with pytest.raises(UserError, match="UMAP is not installed"):
        tsne.main([a, *out, "--method", "umap"])
