"""Feature files and pictures after kill -9: the same command makes the same files and leaves no others."""

import json

import numpy as np
import pytest
import torch
import vl_convert

from analysis.extraction import feature_file
from analysis.figures import embedding

pytestmark = pytest.mark.slow

LABELS = [0] * 4 + [1] * 4
ABOUT = {"method": "mec", "variant": "", "recipe": "demo", "epochs": 3, "seed": 1, "step": 9, "weights_sha256": "0"}


def _features(path):
    about = {**ABOUT, "layer": "backbone", "classes": ["ant", "bee"]}
    names = [f"{i}.png" for i in range(8)]
    feature_file.write(path, torch.arange(16.0).reshape(8, 2), labels=LABELS, names=names, views=None, about=about)
    return path


def test_a_feature_file_is_whole_or_not_there(tmp_path, kills):
    assert kills.survives(lambda out: _features(out / "f.safetensors"), tmp_path) >= 3


def test_panels_of_a_killed_tsne_are_drawn_again(tmp_path, kills, monkeypatch):
    """Without the engine that draws: its threads, once started, do not come along into a fork."""
    monkeypatch.setattr(vl_convert, "vegalite_to_svg", lambda spec: json.dumps(spec))
    monkeypatch.setattr(vl_convert, "vegalite_to_png", lambda spec, scale: json.dumps(spec).encode())
    monkeypatch.setattr(embedding, "embed", lambda h, method, seed: (np.array(h), "as they are"))
    monkeypatch.setattr(embedding, "trustworthiness", lambda h, points: 1.0)
    file = feature_file.read(_features(tmp_path / "f.safetensors"))

    def draw(out):
        embedding.draw_panels([file], out, counts=[2], per_class=None, method="tsne", seed=0)

    assert kills.survives(draw, tmp_path) >= 6


def test_a_report(full_runs, tmp_path, killed):
    """The page stands in a folder of its own."""
    words, imports = [str(full_runs), "--out", str(tmp_path / "run/report.html")], ("PIL.Image",)
    assert killed("analysis.report", tmp_path / "run", words, tries=3, imports=imports) >= 3
