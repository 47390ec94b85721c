"""What OpenMMLab's files say of themselves is read from their stored configuration, and nothing of it is run."""

from pathlib import Path

import pytest

from transfer.checkpoints import openmmlab
from transfer.checkpoints.find_backbone import find_trunk

CAFFE = """
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=50, style='caffe'),
    data_preprocessor=dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False))
train_cfg = dict(max_epochs=100)
"""


def test_bgr_and_the_caffe_stride_come_from_meta_cfg(published, trunk, other):
    content = published.mmpretrain(trunk, other)
    content["meta"]["cfg"] = CAFFE
    about = find_trunk(content, Path("r50.pth")).about
    assert about["method"] == "supervised" and about["epochs"] == 100
    assert about["input"] == {
        "order": "BGR",
        "pixel_mean": [103.53, 116.28, 123.675],
        "pixel_std": [1.0, 1.0, 1.0],
        "stride_in_1x1": True,
    }


@pytest.mark.parametrize(
    ("text", "order", "red"),
    [
        ("model = dict(data_preprocessor={'mean': [120, 1, 2], 'std': (1, 2, 3), 'bgr_to_rgb': True})", "RGB", 120),
        ("img_norm_cfg = dict(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])", "RGB", 123.675),
        ("data_preprocessor = dict(mean=[103.5, 116.3, 123.7], std=[1, 1, 1], to_rgb=False)", "BGR", 103.5),
        ("data_preprocessor = dict(num_classes=10)\nimg_norm_cfg = dict(mean=[9, 9, 9], std=[1, 1, 1])", "BGR", 9.0),
    ],
)  # fmt: skip
def test_each_version_writes_its_input_in_its_own_way(text, order, red):
    found = openmmlab.origin({"meta": {"config": text}})["input"]
    assert found["order"] == order and found["pixel_mean"][0] == red and not found["stride_in_1x1"]


@pytest.mark.parametrize(
    "stored",
    [None, 3, "", "(" * 10_000, "model = [", "model = dict(type=__import__('os').system('touch ran'))", "\x00",
     "img_norm_cfg = dict(mean=[1, 2], std='x')", "img_norm_cfg = dict(mean=[1, 2, 1e999], std=[1, 1, 1])",
     {"model": 3}],
)  # fmt: skip
def test_a_configuration_that_says_nothing_readable_says_nothing(stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert openmmlab.origin({"meta": {"cfg": stored}}) == {}
    assert openmmlab.origin({}) == openmmlab.origin({"meta": [1]}) == {} and not Path("ran").exists()
