"""Detectron2's records come from the suite's reader, and are those of Detectron2's own."""

import copy
import json

import numpy as np
import pytest

from transfer.datasets.benchmarks import PATHS, Split, locate
from transfer.detection import records


def same(a, b) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def detectron2s(split: Split) -> list[dict]:
    from detectron2.data import MetadataCatalog
    from detectron2.data.datasets import load_coco_json

    MetadataCatalog.pop("reference", None)
    return load_coco_json(str(split.json), str(split.images), "reference")


@pytest.mark.parametrize("benchmark", ["coco_2017", "coco_2017_keypoints", "voc_2007_2012", "cityscapes", "lvis_v1"])
def test_records_are_those_of_detectron2(datasets, benchmark):
    split = locate(benchmark, root=None, paths=dict.fromkeys(PATHS)).train
    ours, theirs = records.read(split), detectron2s(split)
    assert same(ours, theirs) and len(ours) >= 24


def test_short_polygons_crowds_and_ids_in_any_order(coco):
    content = json.loads((coco / "data.json").read_text())
    content["images"].reverse()
    content["categories"].reverse()
    first = content["annotations"][0]
    runs = {"size": [30, 40], "counts": [100, 50, 1050]}
    content["annotations"] += [
        first | {"id": 1, "segmentation": [[5, 5, 9, 9]]},
        first | {"id": 2, "segmentation": [[5, 5, 9, 9], first["segmentation"][0]]},
        first | {"id": 3, "iscrowd": 1, "segmentation": runs, "category_id": 1},
    ]
    (coco / "data.json").write_text(json.dumps(content))
    split = Split(coco / "data.json", coco / "images")
    ours = records.read(split)
    assert same(copy.deepcopy(ours), detectron2s(split))
    assert [len(record["annotations"]) for record in ours] == [3, 1]


def test_what_detectron2_s_reader_refuses_is_read(coco):
    content = json.loads((coco / "data.json").read_text())
    for entry in content["annotations"]:
        entry |= {"ignore": None, "iscrowd": None, "id": entry["id"] + 0.0}
    (coco / "data.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(content | {"info": None}).encode())
    split = Split(coco / "data.json", coco / "images")
    assert [entry["iscrowd"] for record in records.read(split) for entry in record["annotations"]] == [0, 0]
    records.register("pets/train", split, {7: "dog", 1: "cat"})
    from detectron2.data import DatasetCatalog, MetadataCatalog

    assert MetadataCatalog.get("pets/train").thing_classes == ["cat", "dog"]
    assert [len(record["annotations"]) for record in DatasetCatalog.get("pets/train")] == [1, 1]
    assert np.array_equal([record["image_id"] for record in DatasetCatalog.get("pets/train")], [1, 2])


def test_an_object_that_says_nothing_of_its_keypoints_has_none_marked(datasets, tmp_path):
    """Detectron2 stacks the points of an image's objects, so one without stopped training."""
    split = locate("coco_2017_keypoints", root=None, paths=dict.fromkeys(PATHS)).train
    content = json.loads(split.json.read_text())
    content["annotations"][0].pop("keypoints")
    content["annotations"][1]["keypoints"] = []
    (tmp_path / "some.json").write_text(json.dumps(content))
    read = records.read(Split(tmp_path / "some.json", split.images))
    found = [one for record in read for one in record["annotations"]]
    assert all(len(one["keypoints"]) == 51 for one in found)
    assert sum(not any(one["keypoints"][2::3]) for one in found) == 2
