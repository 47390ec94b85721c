"""The fast engine gives pycocotools' numbers; perfect and empty predictions give the obvious ones."""

import json

import numpy as np
import pytest

from transfer.evaluate import score


@pytest.fixture(scope="module")
def truth(scenes):
    return scenes / "detection/val.json"


def shaken(truth, *, pixels: float) -> list[dict]:
    """The ground truth as predictions; with ``pixels`` boxes move, some classes are wrong, and each has a rival."""
    rng = np.random.default_rng(0)
    found = []
    for annotation in json.loads(truth.read_text())["annotations"]:
        for _ in range(2 if pixels else 1):
            box = np.abs(np.array(annotation["bbox"], float) + rng.normal(0, pixels, 4))
            category = annotation["category_id"] if rng.random() < 0.8 or not pixels else int(rng.integers(1, 9))
            found.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": category,
                    "bbox": list(map(float, box)),
                    "score": float(rng.random()),
                    "segmentation": annotation["segmentation"],
                }
            )
    return found


def test_both_engines_agree_in_every_figure(truth):
    predictions = shaken(truth, pixels=4)
    fast, slow = (
        score(truth, predictions, tasks=["bbox", "segm"], engine=engine)
        for engine in ("faster-coco-eval", "pycocotools")
    )
    for task in ("bbox", "segm"):
        assert fast[task].keys() == slow[task].keys()
        for metric, value in slow[task].items():
            assert fast[task][metric] == (None if value is None else pytest.approx(value, abs=1e-9)), (task, metric)
    assert 5 < slow["bbox"]["AP"] < 95


@pytest.mark.parametrize("engine", ["faster-coco-eval", "pycocotools"])
def test_the_truth_itself_scores_100_and_nothing_scores_0(truth, engine):
    figures = score(truth, shaken(truth, pixels=0), tasks=["bbox", "segm"], engine=engine)
    assert figures["bbox"]["AP"] == pytest.approx(100)
    assert figures["segm"]["AP75"] == pytest.approx(100)
    empty = score(truth, [], tasks=["bbox"], engine=engine)["bbox"]
    assert empty["AP"] == empty["AP50"] == 0
    assert figures["bbox"].keys() >= empty.keys()


def test_predictions_are_not_changed_by_scoring(truth):
    predictions = shaken(truth, pixels=4)
    before = json.dumps(predictions)
    score(truth, predictions, tasks=["bbox", "segm"], engine="faster-coco-eval")
    assert json.dumps(predictions) == before


def test_the_drawn_scenes_have_no_large_object_and_so_no_figure_for_it(truth):
    assert score(truth, shaken(truth, pixels=4), tasks=["bbox"], engine="pycocotools")["bbox"]["APl"] is None
