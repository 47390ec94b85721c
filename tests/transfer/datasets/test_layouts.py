"""VOC, Cityscapes, LVIS and COCO's keypoints are read from trees of their real shape, each scored its own way."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from runtime.command_line import UserError
from transfer.datasets import cityscapes, voc
from transfer.datasets.benchmarks import locate
from transfer.datasets.layouts import read_lvis
from transfer.datasets.validate_coco import check
from transfer.metrics import ground_truth

NO_PATHS = dict.fromkeys(("train_json", "train_images", "val_json", "val_images"))


def found(name: str):
    return locate(name, root=None, paths=NO_PATHS)


@pytest.mark.parametrize(
    ("name", "train", "val", "categories", "masks", "metric"),
    [
        ("coco_2017", 24, 4, 8, True, "coco"),
        ("coco_2017_keypoints", 24, 4, 1, True, "coco"),
        ("voc_2007_2012", 48, 4, 20, False, "voc-2007"),
        ("cityscapes", 24, 4, 8, True, "cityscapes"),
        ("lvis_v1", 24, 4, 8, True, "lvis"),
    ],
)
def test_a_benchmark_is_read_from_its_own_tree(datasets, name, train, val, categories, masks, metric):
    paths = found(name)
    halves = [check(paths.train, evaluated=False), check(paths.val, evaluated=True)]
    assert [half.images for half in halves] == [train, val]
    assert all(len(half.categories) == categories and half.has_masks == masks for half in halves)
    assert ground_truth.read(paths.val.json).metric == metric


def test_voc_boxes_are_zero_based_and_difficult_objects_are_marked(datasets, scenes):
    drawn = json.loads((scenes / "detection/val.json").read_text())["annotations"]
    read = json.loads(found("voc_2007_2012").val.json.read_text())["annotations"]
    assert [entry["bbox"] for entry in read] == [entry["bbox"] for entry in drawn]
    assert [entry["difficult"] for entry in read] == [int(entry["area"] < 80) for entry in drawn]


def test_a_cityscapes_mask_is_the_pixels_of_its_instance_and_a_group_is_a_crowd(datasets):
    content = json.loads(found("cityscapes").val.json.read_text())
    first = content["images"][0]
    assert first["file_name"] == "val/drawnville/drawnville_000001_000019_leftImg8bit.png"
    void = coco_mask.decode(first["void"])
    assert void[:4].mean() > 0.9 and not void[4:].any()
    for entry in content["annotations"]:
        assert coco_mask.area(entry["segmentation"]) == entry["area"]
    assert {entry["iscrowd"] for entry in content["annotations"]} == {0, 1}


def test_lvis_images_are_cocos(datasets):
    paths = found("lvis_v1")
    content = json.loads(paths.val.json.read_text())
    assert content["images"][0]["file_name"] == "val2017/000000.jpg"
    assert (paths.val.images / "val2017/000000.jpg").is_file()
    assert content["images"][0]["neg_category_ids"] == [1]


def test_a_fraction_is_the_same_for_everybody_and_the_smaller_lies_in_the_larger(datasets):
    names = {}
    for name in ("coco_2017_10pct", "coco_2017_1pct"):
        paths = found(name)
        assert paths.val == found("coco_2017").val
        content = json.loads(paths.train.json.read_text())
        names[name] = {image["file_name"] for image in content["images"]}
        assert {entry["image_id"] for entry in content["annotations"]} <= {image["id"] for image in content["images"]}
        assert len(content["categories"]) == 8
    assert names == {"coco_2017_10pct": {"000006.jpg", "000009.jpg"}, "coco_2017_1pct": {"000006.jpg"}}


def test_a_conversion_is_kept_and_made_again_when_its_source_changes(datasets, monkeypatch):
    first = found("voc_2007_2012").val.json
    monkeypatch.setattr(voc, "_parse", lambda file: pytest.fail("read again"))
    assert found("voc_2007_2012").val.json == first
    monkeypatch.undo()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))
    monkeypatch.setenv("SSL_TRANSFER_CACHE", str(first.parent))
    listing = datasets / "VOC2007/ImageSets/Main/test.txt"
    before = listing.read_text()
    listing.write_text("\n".join(before.split()[:2]) + "\n")
    try:
        assert len(json.loads(found("voc_2007_2012").val.json.read_text())["images"]) == 2
    finally:
        listing.write_text(before)


def test_a_broken_tree_is_one_line(datasets, tmp_path):
    (tmp_path / "VOC2007/ImageSets/Main").mkdir(parents=True)
    (tmp_path / "VOC2007/ImageSets/Main/test.txt").write_text("000001\n")
    with pytest.raises(UserError, match=r"000001.xml does not exist \(1 of 1 annotations are missing\)"):
        voc.read([tmp_path / "VOC2007/ImageSets/Main/test.txt"])
    (tmp_path / "VOC2007/Annotations").mkdir()
    (tmp_path / "VOC2007/Annotations/000001.xml").write_text("<annotation></annotation>")
    with pytest.raises(UserError, match="000001.xml is no VOC annotation"):
        voc.read([tmp_path / "VOC2007/ImageSets/Main/test.txt"])
    with pytest.raises(UserError, match="holds no CITY/.*instanceIds.png; unpack gtFine"):
        cityscapes.read([tmp_path])
    (tmp_path / "coco.json").write_text(json.dumps({"images": [{"id": 1}], "annotations": [], "categories": []}))
    with pytest.raises(UserError, match="is no LVIS file .*coco_url"):
        read_lvis([tmp_path / "coco.json"])


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("voc_2007_2012", "VOC2007/ImageSets/Main/trainval.txt, VOC2012/ImageSets/Main/trainval.txt"),
        ("cityscapes", "cityscapes/gtFine/train, cityscapes/leftImg8bit, cityscapes/gtFine/val"),
        ("lvis_v1", "lvis/lvis_v1_train.json, coco, lvis/lvis_v1_val.json"),
        ("coco_2017_keypoints", "coco/annotations/person_keypoints_train2017.json, coco/train2017"),
    ],
)
def test_an_unset_variable_is_named_with_the_tree_it_should_hold(monkeypatch, name, tree):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    with pytest.raises(UserError, match=f"set DETECTRON2_DATASETS to the folder that holds {tree}.*with --data"):
        found(name)


def test_instances_of_void_classes_are_no_objects(tmp_path):
    import cv2

    pixels = np.full((20, 20), 7, np.uint16)
    pixels[2:8, 2:8], pixels[10:18, 10:18] = 29001, 26001  # a caravan, a car
    cv2.imwrite(str(tmp_path / "a_gtFine_instanceIds.png"), pixels)
    _, objects = cityscapes._parse(tmp_path / "a_gtFine_instanceIds.png")
    assert [(entry["category_id"], entry["bbox"]) for entry in objects] == [(26, [10, 10, 8, 8])]
