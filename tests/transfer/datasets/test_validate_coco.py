"""A fault of a COCO file is found before training and named with its annotation."""

import json

import pytest

from runtime.command_line import UserError
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


def _lacking(kind, key):
    return lambda content: content[kind][1].pop(key)


def _crowded(content):
    for number, annotation in enumerate(content["annotations"] * 3):
        content["annotations"].append(annotation | {"id": 100 + number, "bbox": [0, 0, 99, 9]})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("categories"), "lacks the list 'categories'.*found images, annotations"),
        (lambda content: content.update(images=[]), "has 0 images"),
        (_lacking("images", "width"), "image id 2 lacks 'width'"),
        (_lacking("annotations", "bbox"), "annotation id 12 lacks 'bbox'"),
        (_lacking("annotations", "id"), "annotation number 1 lacks 'id'"),
        (_lacking("annotations", "iscrowd"), "annotation id 12 lacks 'iscrowd'"),
        (_lacking("categories", "name"), "category id 7 lacks 'name'"),
        (lambda content: content["images"][0].update(file_name="no.png"), "image id 1 is no.png, which is not in"),
        (_annotation(bbox=[30, 5, 20, 10]), r"annotation id 12 has box \[30, 5, 20, 10\] outside its image of 40 x 30"),
        (_annotation(bbox=[-3, 5, 20, 10]), "annotation id 12 has box .* outside"),
        (_annotation(bbox=[5, 5, -2, 10]), "annotation id 12 has box .* outside"),
        (_annotation(bbox=[5, 5]), "expected .x, y, width, height."),
        (_annotation(bbox=[5, 5, "9", 10]), "expected .x, y, width, height."),
        (_annotation(bbox=[5, float("nan"), 9, 10]), "expected .x, y, width, height."),
        (_annotation(category_id=[7]), r"annotation id 12 has category_id \[7\], which is no int"),
        (lambda content: content["images"][1].update(width="40"), "image id 2 has width '40', which is no float"),
        (lambda content: content["images"].append(1), "image number 2 is 1, expected an object with id, file_name"),
        (_annotation(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "annotation id 12 has a polygon with an odd number .*7"),
        (_annotation(segmentation={"size": [40, 30], "counts": "x"}), "annotation id 12 has a mask of .40, 30."),
        (_annotation(category_id=3), "annotation id 12 has category 3"),
        (_annotation(image_id=9), "annotation id 12 belongs to image 9"),
        (_annotation(id=11), "annotation id 11 occurs twice"),
        (_crowded, "annotation id 100 has box .* outside .*; 6 faults in all"),
    ],
)
def test_each_fault_is_one_line_that_names_it(coco, change, message):
    edit(coco, change)
    with pytest.raises(UserError, match=message) as caught:
        check(split(coco), evaluated=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("{", "is not json"), ("[1]", "holds a list"), ("", "is not json")])
def test_what_is_no_json_object_is_refused(coco, text, message):
    (coco / "data.json").write_text(text)
    with pytest.raises(UserError, match=message):
        check(split(coco), evaluated=False)


def test_coco_s_own_rounding_is_no_fault(coco):
    edit(coco, _annotation(bbox=[30.2, 5, 9.81, 10]))
    check(split(coco), evaluated=True)


def test_area_is_needed_only_where_the_file_is_evaluated(coco):
    edit(coco, _lacking("annotations", "area"))
    check(split(coco), evaluated=False)
    with pytest.raises(UserError, match="lacks 'area'"):
        check(split(coco), evaluated=True)
