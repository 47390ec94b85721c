"""A fault of a COCO file is found before training and named with its annotation."""

import gzip
import json
import re

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from runtime.command_line import UserError
from transfer.datasets import coco_json, inspection
from transfer.datasets.benchmarks import Split
from transfer.datasets.validate_coco import check


def split(coco) -> Split:
    return Split(coco / "data.json", coco / "images")


def edit(coco, change) -> None:
    content = json.loads((coco / "data.json").read_text())
    change(content)
    (coco / "data.json").write_text(json.dumps(content))


def test_a_sound_file_is_summarised(coco):
    summary = check(split(coco), evaluated=True)
    assert (summary.categories, summary.images, summary.annotations) == ({1: "cat", 7: "dog"}, 2, 2)
    assert (summary.has_masks, summary.has_rle) == (True, False)


def test_the_drawn_scenes_are_sound(scenes):
    found = check(Split(scenes / "detection/val.json", scenes / "detection/val"), evaluated=True)
    assert len(found.categories) == 8
    assert found.has_rle


def _annotation(**changes):
    return lambda content: content["annotations"][1].update(changes)


def _image(**changes):
    return lambda content: content["images"][1].update(changes)


def _category(**changes):
    return lambda content: content["categories"][1].update(changes)


def _lacking(kind, key):
    return lambda content: content[kind][1].pop(key)


def _crowded(content):
    for number, annotation in enumerate(content["annotations"] * 3):
        content["annotations"].append(annotation | {"id": 100 + number, "bbox": [0, 0, 99, 9]})


def _all_crowd(content):
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1


POLYGON = [5, 5, 25, 5, 25, 15, 5, 15]
NESTED = [[[5, 5], [25, 5], [25, 15], [5, 15]]]

FAULTS = [
    (_lacking("images", "width"), "image id 2 lacks 'width'"),
    (_lacking("annotations", "bbox"), "annotation id 12 lacks 'bbox'"),
    (_lacking("annotations", "id"), "annotation number 1 lacks 'id'"),
    (_lacking("categories", "name"), "category id 7 lacks 'name'"),
    (lambda content: content["images"].append(1), "image number 2 is no object, expected one with id, file_name"),
    (_image(width="40"), "image id 2 has a wrong width, expected a whole number .'40'"),
    (_image(width=0), "image id 2 has a wrong size"),
    (_image(width=10**6, height=10**6), "image id 2 has a wrong size"),
    (_image(id="two"), "image id 'two' has a wrong id, expected a whole number"),
    (_image(file_name=5), "image id 2 has a wrong file_name"),
    (_image(file_name="no.png"), "image id 2 is a file that is not in the image folder .'no.png'"),
    (_image(file_name="../images/1.png"), "image id 2 has a file name that leaves the image folder"),
    (_image(file_name="/etc/passwd"), "image id 2 has a file name that leaves the image folder"),
    (_image(file_name="a\0b.png"), "image id 2 is a file that is not in the image folder"),
    (_image(file_name="\udc80.jpg"), "image id 2 is a file that is not in the image folder"),
    (_image(id=1), "image id 1 is the id of several images"),
    (_category(id=1), "category id 1 is the id of several categories"),
    (_category(name="cat"), "'cat' is the name of several categories"),
    (_category(name=None), "category id 7 has a wrong name"),
    (_category(keypoints="nose"), "category id 7 has a wrong list of keypoints"),
    (_annotation(id=11), "annotation id 11 is the id of several annotations"),
    (_annotation(id="a12"), "annotation id 'a12' has a wrong id"),
    (_annotation(category_id=[7]), "annotation id 12 has a wrong category_id"),
    (_annotation(category_id=3), "annotation id 12 has a category that is not among the categories .category 3"),
    (_annotation(image_id=9), "annotation id 12 belongs to an image that is not among the images .image 9"),
    (_annotation(image_id=True), "annotation id 12 has a wrong image_id"),
    (_annotation(bbox=[30, 5, 20, 10]), "annotation id 12 has a box outside its image ..30, 5, 20, 10. in 40 x 30"),
    (_annotation(bbox=[-3, 5, 20, 10]), "annotation id 12 has a box outside"),
    (_annotation(bbox=[5, 5, -2, 10]), "annotation id 12 has a box outside"),
    (_annotation(bbox=[5, 5]), "expected .x, y, width, height."),
    (_annotation(bbox=[5, 5, "9", 10]), "expected .x, y, width, height."),
    (_annotation(bbox=[5, float("nan"), 9, 10]), "expected .x, y, width, height."),
    (_annotation(bbox=[5, 10**400, 9, 10]), "expected .x, y, width, height."),
    (_annotation(bbox=None), "expected .x, y, width, height."),
    (_annotation(area=float("nan")), "annotation id 12 has a wrong area"),
    (_annotation(area="200"), "annotation id 12 has a wrong area"),
    (_annotation(area=-1), "annotation id 12 has a wrong area"),
    (_annotation(iscrowd=2), "annotation id 12 has a wrong iscrowd, expected 0 or 1"),
    (_annotation(iscrowd="0"), "annotation id 12 has a wrong iscrowd"),
    (_annotation(ignore=1), "annotation id 12 is marked 'ignore'"),
    (_annotation(keypoints=[1, 2]), "annotation id 12 has wrong keypoints"),
    (_annotation(keypoints=["a", "b", 2]), "annotation id 12 has wrong keypoints"),
    (_annotation(segmentation=[]), "annotation id 12 is without a mask where others have one"),
    (_annotation(segmentation=[[]]), "annotation id 12 is without a mask where others have one"),
    (_annotation(segmentation=None), "annotation id 12 is without a mask where others have one"),
    (_lacking("annotations", "segmentation"), "annotation id 12 is without a mask where others have one"),
    (_annotation(segmentation="x"), "annotation id 12 has a segmentation that is neither polygons nor run lengths"),
    (_annotation(segmentation=POLYGON), "annotation id 12 has a polygon that is no list"),
    (_annotation(segmentation=NESTED), "annotation id 12 has a polygon with a value that is no number"),
    (_annotation(segmentation=[["a"] * 6]), "annotation id 12 has a polygon with a value that is no number"),
    (_annotation(segmentation=[[5, 5, None, 5, 25, 15]]), "annotation id 12 has a polygon with a value that is no n"),
    (_annotation(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "annotation id 12 has a polygon with an odd number .*7"),
    (_annotation(segmentation=[[5, 5, float("inf"), 5, 25, 15]]), "annotation id 12 has a polygon that is not finite"),
    (_annotation(segmentation=[[5, 5, 1e9, 5, 25, 15]]), "annotation id 12 has a polygon far outside its image"),
    (_annotation(segmentation={"size": [40, 30], "counts": "x"}), "run lengths of another size than its image"),
    (_annotation(segmentation={"size": [30, 40]}), "run lengths that are neither a text nor whole numbers"),
    (_annotation(segmentation={"size": [30, 40], "counts": [5, "5"]}), "run lengths that are neither a text nor"),
    (_annotation(segmentation={"size": [30, 40], "counts": [5, 5]}), "run lengths that do not fill its image"),
    (_annotation(segmentation={"size": [30, 40], "counts": [-5, 1205]}), "run lengths that do not fill its image"),
    (_annotation(segmentation={"size": [30, 40], "counts": "0" + "oooooN" * 3}), "run lengths that do not fill"),
    (_annotation(segmentation={"size": [30, 40], "counts": "é"}), "run lengths that do not fill its image"),
    (_annotation(segmentation={"size": [30, 40], "counts": "oooooooooooo0"}), "run lengths that do not fill its image"),
    (_annotation(segmentation={"size": [30, 40], "counts": ""}), "run lengths that do not fill its image"),
    (_crowded, "6 x has a box outside its image: annotation id 100 .* and 3 more"),
]


@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize(("change", "message"), FAULTS)
def test_a_fault_is_one_line_that_names_its_entry(coco, change, message, evaluated):
    edit(coco, change)
    with pytest.raises(UserError, match=message) as caught:
        check(split(coco), evaluated=evaluated)
    assert len(set(caught.value.faults)) <= 2 and all(len(line) < 1000 for line in caught.value.faults)
    listed = inspection.check(coco_json.read(coco / "data.json"), split(coco), evaluated=evaluated, decode=True)
    assert re.search(message, "\n".join(inspection.lines(listed)))


def test_a_training_half_needs_an_object(coco):
    edit(coco, _all_crowd)
    with pytest.raises(UserError, match="the file has no object to train on .2 annotations, 2 of them crowds"):
        check(split(coco), evaluated=False)
    assert check(split(coco), evaluated=True).images == 2
    edit(coco, lambda content: content.update(annotations=[]))
    with pytest.raises(UserError, match="no object to train on"):
        check(split(coco), evaluated=False)


def test_a_polygon_of_two_points_is_no_mask_of_a_validation_object(coco):
    """pycocotools takes four numbers for a box."""
    edit(coco, _annotation(segmentation=[[5, 5, 9, 9]]))
    check(split(coco), evaluated=False)
    with pytest.raises(UserError, match="annotation id 12 is without a mask where others have one"):
        check(split(coco), evaluated=True)


@pytest.mark.parametrize(
    "change",
    [
        _lacking("annotations", "area"),
        _lacking("annotations", "iscrowd"),
        _annotation(iscrowd=None, area=None, ignore=None),
        _annotation(iscrowd=False, id=12.0, image_id=2.0, category_id=7.0),
        _annotation(ignore=0, keypoints=[], num_keypoints=0, attributes={"occluded": False}, score=None),
        _annotation(id=0),
        _annotation(id=-(2**70)),
        _annotation(bbox=[30.2, 5, 9.81, 10]),
        _image(width=40.0, height=30.0, license=None, date_captured=0),
        _category(supercategory=None, keypoints=None),
        lambda content: content.update(info=None, licenses=None),
        lambda content: content.update(info={"year": "2024", "metric": 5}, licenses=[{"id": 0, "url": ""}]),
    ],
)
def test_what_exporters_write_is_accepted(coco, change):
    edit(coco, change)
    for evaluated in (False, True):
        check(split(coco), evaluated=evaluated)
    content = coco_json.clean(coco_json.read(coco / "data.json"), evaluated=True)
    for entry in content["annotations"]:
        assert {type(entry[key]) for key in ("id", "image_id", "category_id", "iscrowd")} == {int}
        assert entry["area"] == 200


def test_a_byte_order_mark_is_accepted(coco):
    (coco / "data.json").write_bytes(b"\xef\xbb\xbf" + (coco / "data.json").read_bytes())
    assert check(split(coco), evaluated=True).images == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", "holds a list"),
        ("", "is no JSON"),
        ("[" * 5000, "nests more than"),
        ('{"images": [], "annotations": []}', "lacks the list 'categories'.*found images, annotations"),
        ('{"images": [], "annotations": [], "categories": [{}]}', "has 0 images"),
    ],
)
def test_what_is_no_coco_json_is_refused(coco, text, message):
    (coco / "data.json").write_text(text)
    with pytest.raises(UserError, match=message):
        check(split(coco), evaluated=False)


def test_a_small_file_that_unfolds_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(coco_json, "SMALL_BYTES", 1 << 20)
    with gzip.open(tmp_path / "bomb.json.gz", "wb") as file:
        for _ in range(40):
            file.write(bytes(1 << 20))
    with pytest.raises(UserError, match="holds more than"):
        coco_json.read(tmp_path / "bomb.json.gz")


def test_missing_areas_are_those_of_the_masks(coco):
    """Against pycocotools: polygons and both kinds of run lengths."""
    mask = np.zeros((30, 40), np.uint8)
    mask[3:9, 2:20] = 1
    packed = coco_mask.encode(np.asfortranarray(mask))
    runs = np.diff(np.concatenate([[0], np.flatnonzero(np.diff(mask.ravel("F"))) + 1, [1200]])).tolist()
    for segmentation in (
        {"size": [30, 40], "counts": packed["counts"].decode()},
        {"size": [30, 40], "counts": runs},
        [[2, 3, 20, 3, 20, 9, 2, 9]],
    ):
        edit(coco, _annotation(segmentation=segmentation, area=None))
        content = coco_json.clean(coco_json.read(coco / "data.json"), evaluated=True)
        assert content["annotations"][1]["area"] == mask.sum() == 108


def test_packed_run_lengths_are_read_as_pycocotools_reads_them():
    rng = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.98):
        mask = np.asfortranarray((rng.random((40, 300)) < share).astype(np.uint8))
        packed = coco_mask.encode(mask)["counts"].decode()
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel("F"), [2]])))
        assert coco_json.unpacked(packed).tolist() == np.diff(np.concatenate([[0], edges])).tolist()
