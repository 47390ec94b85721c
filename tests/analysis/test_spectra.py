import json

import pytest
import torch

from analysis import effective_rank, spectra
from analysis.extraction import feature_file
from analysis.measures import view_measures
from analysis.measures.spectra import of_views
from runtime import results
from runtime.command_line import UserError

pytestmark = pytest.mark.slow

ABOUT = {"method": "mine", "recipe": "demo", "variant": "", "epochs": 3, "seed": 1, "step": 9, "benchmark": "scenes"}
ABOUT |= {"layer": "backbone", "settings": {}, "commit": "x", "classes": ["cat", "dog"]}


def features(path, *, seed=0, views=None, sha="aa", n=30) -> str:
    h = torch.randn(n, 40, generator=torch.Generator().manual_seed(seed))
    names, labels = [f"{i}.png" for i in range(n)], [i % 2 for i in range(n)]
    about = {**ABOUT, "weights_sha256": sha}
    feature_file.write(path, h, labels=labels, names=names, views=views, about=about)
    return str(path)


@pytest.fixture
def views():
    return torch.randn(30, 3, 40, generator=torch.Generator().manual_seed(5))


def test_both_commands_share_one_result_and_the_same_again_replaces_its_own(tmp_path, views):
    path = features(tmp_path / "f.safetensors", views=views)
    out = ["--out", str(tmp_path)]
    effective_rank.main([path, *out, "--resamples", "0"])
    spectra.main([path, *out])
    spectra.main([path, *out])
    metrics = [record.metric for record in results.read(tmp_path / "result.json")]
    assert len(metrics) == len(set(metrics)) and {"rank-intra-cov", "rankme", "lidar", "nc1"} <= set(metrics)
    content = json.loads((tmp_path / "spectra.json").read_text())
    assert len(content["eigenvalues"]) == 30 and content["views"] == 3 and content["n_per_class"] == 15
    assert (tmp_path / "spectrum.svg").stat().st_size > 0 and (tmp_path / "spectrum.png").stat().st_size > 0


def test_what_n_decides_is_marked(tmp_path, views, capsys):
    """30 images of 40 features; 30 x 2 differences of views fill the 40 features, 30 x 1 do not."""
    for name, drawn in (("a", views), ("b", views[:, :2].contiguous())):
        spectra.main([features(tmp_path / f"{name}.safetensors", views=drawn), "--out", str(tmp_path / name)])
    a, b = (json.loads((tmp_path / name / "spectra.json").read_text())["warnings"] for name in "ab")
    assert [line.split()[0] for line in a] == ["rankme", "alpha"] and [line.split()[0] for line in b][2:] == ["lidar"]
    assert "close to its bound of 30 images" in a[0] and "rank 29, the last that 30 images have" in a[1]
    assert "30 x 1 differences of views, which do not fill 40 features" in b[2]
    assert "warning: alpha is fitted up to rank 29" in capsys.readouterr().out


def test_matrices_of_views_are_of_images_of_every_class(tmp_path, monkeypatch, views):
    """Thirty images in the order of their classes, ten of them looked at: every third, and the records say ten."""
    monkeypatch.setattr(view_measures, "MOST_FOR_MATRICES", 10)
    values, counts = of_views(views.double())
    assert counts == {"alignment": 30, "lidar": 30, "mutual-information": 10, "joint-entropy": 10}
    some = views.double()[[0, 3, 6, 10, 13, 16, 19, 23, 26, 29]]
    assert values["joint-entropy"] == pytest.approx(of_views(some)[0]["joint-entropy"])
    spectra.main([features(tmp_path / "f.safetensors", views=views), "--out", str(tmp_path)])
    n = {record.metric: record.n for record in results.read(tmp_path / "result.json")}
    assert (n["rankme"], n["lidar"], n["joint-entropy"]) == (30, 30, 10)


def test_views_of_another_file_count_if_it_is_of_the_same_backbone(tmp_path, views, capsys):
    plain = features(tmp_path / "f.safetensors")
    other = features(tmp_path / "v.safetensors", views=views)
    spectra.main([plain, "--out", str(tmp_path / "a")])
    assert "without alignment, LiDAR" in capsys.readouterr().out
    spectra.main([plain, "--views", other, "--out", str(tmp_path / "b")])
    assert "alignment" in capsys.readouterr().out
    with pytest.raises(UserError, match="different backbones"):
        spectra.main([plain, "--views", features(tmp_path / "w.safetensors", sha="bb"), "--out", str(tmp_path / "c")])
    with pytest.raises(UserError, match="holds no random views"):
        spectra.main([plain, "--views", plain, "--out", str(tmp_path / "c")])


def test_a_folder_of_other_features_is_not_mixed_up(tmp_path):
    spectra.main([features(tmp_path / "f.safetensors"), "--out", str(tmp_path)])
    with pytest.raises(UserError, match="measures other features"):
        spectra.main([features(tmp_path / "g.safetensors", sha="bb"), "--out", str(tmp_path)])


def test_collapsed_features_are_one_line(tmp_path):
    path = tmp_path / "f.safetensors"
    about = {**ABOUT, "weights_sha256": "aa"}
    feature_file.write(path, torch.ones(4, 3), labels=[0, 0, 1, 1], names=list("abcd"), views=None, about=about)
    with pytest.raises(UserError, match="all images have the same features"):
        spectra.main([str(path), "--out", str(tmp_path)])
