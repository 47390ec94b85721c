"""A benchmark is found by name, by folder or by four paths, or the message says what is missing."""

import pytest

from runtime.command_line import UserError
from transfer.datasets.benchmarks import Split, available, locate

NO_PATHS = dict.fromkeys(("train_json", "train_images", "val_json", "val_images"))


def test_scenes_are_found_under_data(scenes):
    found = locate("scenes", root=str(scenes), paths=NO_PATHS)
    assert found.val == Split(scenes / "detection/val.json", scenes / "detection/val")


def test_coco_is_found_where_detectron2_looks(tmp_path, monkeypatch):
    for folder in ("annotations", "train2017", "val2017"):
        (tmp_path / "coco" / folder).mkdir(parents=True)
    for half in ("train", "val"):
        (tmp_path / "coco/annotations" / f"instances_{half}2017.json").write_text("{}")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert locate("coco_2017", root=None, paths=NO_PATHS).train.images == tmp_path / "coco/train2017"
    assert locate("coco_2017", root=str(tmp_path / "coco"), paths=NO_PATHS).val.images == tmp_path / "coco/val2017"


def test_coco_without_its_variable_says_which_and_the_tree(monkeypatch):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    with pytest.raises(UserError, match="set DETECTRON2_DATASETS .* coco/annotations/instances_val2017.json"):
        locate("coco_2017", root=None, paths=NO_PATHS)


def test_any_coco_set_works_by_four_paths(coco):
    paths = {key: str(coco / ("data.json" if key.endswith("json") else "images")) for key in NO_PATHS}
    found = locate("pets", root=None, paths=paths)
    assert (found.name, found.train) == ("pets", Split(coco / "data.json", coco / "images"))


@pytest.mark.parametrize(
    ("name", "root", "given", "message"),
    [
        ("cocoa", None, {}, f"unknown benchmark 'cocoa'; known: {', '.join(sorted(available()))}"),
        ("pets", None, {"train_json": "a.json", "val_json": "b.json"}, "--train-images, --val-images not given"),
        ("scenes", None, dict.fromkeys(NO_PATHS, "x"), "name of their own, not 'scenes'"),
        ("pets", "root", dict.fromkeys(NO_PATHS, "x"), "no --data"),
        ("pets", None, dict.fromkeys(NO_PATHS, "nowhere"), "nowhere does not exist"),
        ("pets", None, dict.fromkeys(NO_PATHS, "/"), "--train-json / must be a COCO json"),
        ("pets", None, dict.fromkeys(NO_PATHS, __file__), "--train-images .* must be a folder of images"),
        ("scenes", "nowhere", {}, "nowhere/detection/train.json does not exist"),
    ],
)
def test_what_is_missing_is_named(name, root, given, message):
    with pytest.raises(UserError, match=message):
        locate(name, root=root, paths=NO_PATHS | given)
