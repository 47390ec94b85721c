"""Keypoints come from the data set; left and right change places when an image is mirrored."""

import json

import pytest

from runtime.command_line import UserError
from transfer.datasets import coco_json


def test_left_and_right_change_places(datasets):
    points = coco_json.keypoint_names(datasets / "coco/annotations/person_keypoints_train2017.json")
    pairs = coco_json.mirrored_pairs(points)
    assert len(points) == 17 and len(pairs) == 8
    assert ("left_ankle", "right_ankle") in pairs


def test_a_set_without_them_is_one_line(coco):
    with pytest.raises(UserError, match="needs COCO's 17 keypoints .* found cat 0, dog 0; take coco_2017_keypoints"):
        coco_json.keypoint_names(coco / "data.json")


def test_seventeen_of_each_category_alike_are_asked_for(coco):
    content = json.loads((coco / "data.json").read_text())
    for number, category in enumerate(content["categories"]):
        category["keypoints"] = [f"{number}-{point}" for point in range(17)]
    (coco / "data.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="found cat 17, dog 17"):
        coco_json.keypoint_names(coco / "data.json")


def test_points_that_would_not_change_places_are_refused(datasets):
    path = datasets / "coco/annotations/person_keypoints_train2017.json"
    content = json.loads(path.read_text())
    names = [name.replace("left_", "l_").replace("right_", "r_") for name in content["categories"][0]["keypoints"]]
    content["categories"][0]["keypoints"] = names
    path = datasets / "other.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="0 pairs left_... and right_... among the keypoints nose, l_eye, r_eye"):
        coco_json.keypoint_names(path)
