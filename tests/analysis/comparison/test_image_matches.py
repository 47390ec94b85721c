"""AP from kept matches is COCO's AP, for the images as they are and for any multiple of them."""

import json

import numpy as np
import pytest

from analysis.comparison import image_matches as matches_of_images
from analysis.comparison.image_matches import FIGURES, match
from transfer.metrics.coco import score

TASKS = ["bbox", "segm"]


@pytest.fixture(scope="module")
def truth(tmp_path_factory, coco_set):
    return coco_set.write(tmp_path_factory.mktemp("coco") / "truth.json", images=40)


def evaluated(truth, found, task) -> list[float]:
    figures = score(truth, found, tasks=[task], engine="pycocotools")[task]
    return [figures[name] for name in FIGURES]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("copies", "steps"), [(3, 5), (40, 1000)])
def test_every_image_once_gives_cocos_figures(truth, coco_set, task, copies, steps):
    found = coco_set.predict(truth, copies=copies, steps=steps)
    matches = match(truth, found, task)
    assert matches.figures(np.ones(matches.images)) == pytest.approx(evaluated(truth, found, task), abs=1e-9)


def test_images_are_matched_a_few_at_a_time_to_the_same_end(truth, coco_set, monkeypatch):
    found = coco_set.predict(truth)
    whole = match(truth, found, "bbox")
    monkeypatch.setattr(matches_of_images, "CHUNK", 7)
    parts = match(truth, found, "bbox")
    for name in ("objects", "image", "first", "right", "right_segment", "ignored", "ignored_segment"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name


def repeated(truth, found, weights, tmp_path):
    """The data set in which image i stands ``weights[i]`` times, under new ids, and its predictions."""
    content, more = json.loads(truth.read_text()), []
    images, objects = [], []
    for image, weight in zip(sorted(content["images"], key=lambda image: image["id"]), weights, strict=True):
        for _ in range(int(weight)):
            new = {"image_id": len(images) + 1}
            images.append({**image, "id": len(images) + 1})
            objects += [{**a, **new} for a in content["annotations"] if a["image_id"] == image["id"]]
            more += [{**entry, **new} for entry in found if entry["image_id"] == image["id"]]
    objects = [{**annotation, "id": k} for k, annotation in enumerate(objects, 1)]
    path = tmp_path / "repeated.json"
    path.write_text(json.dumps({**content, "images": images, "annotations": objects}))
    return path, more


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_weight_is_as_many_copies_of_the_image(truth, coco_set, tmp_path, seed):
    rng = np.random.default_rng(seed)
    found = coco_set.predict(truth, steps=10**6)  # no ties: their order is the images', and copies have none
    matches = match(truth, found, "bbox")
    weights = np.bincount(rng.integers(matches.images, size=matches.images), minlength=matches.images)
    copies = repeated(truth, found, weights, tmp_path)
    # Copies of an image tie with each other. Either order of a right and a wrong one of equal score is COCO's, which
    # can move a single precision by a few parts in a hundred of one object.
    assert matches.figures(weights.astype(float)) == pytest.approx(evaluated(*copies, "bbox"), abs=0.05)


def test_images_without_objects_or_detections_change_nothing(truth, coco_set):
    found = coco_set.predict(truth)
    matches = match(truth, found, "bbox")
    busy = np.zeros(matches.images, bool)
    busy[matches.image] = True
    busy |= matches.objects.sum(0) > 0
    assert not busy.all()
    weights = np.where(busy, 1.0, 7.0)
    assert np.array_equal(matches.figures(weights), matches.figures(np.ones(matches.images)))


def test_a_detector_without_detections_scores_0_and_a_set_without_objects_nothing(truth, coco_set):
    empty = match(truth, [], "bbox")
    assert empty.figures(np.ones(empty.images)).tolist() == [0, 0, 0]
    matches = match(truth, coco_set.predict(truth), "bbox")
    assert np.isnan(matches.figures(np.zeros(matches.images))).all()
