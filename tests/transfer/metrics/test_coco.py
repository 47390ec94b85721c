"""The fast engine gives pycocotools' numbers; perfect and empty predictions give the obvious ones."""

import json

import pytest

from runtime.command_line import UserError
from transfer.metrics import coco
from transfer.metrics.coco import ENGINES, FIGURES, cross_check, errors, score

BOTH = ["bbox", "segm"]


@pytest.fixture(scope="module")
def predict(coco_set):
    return coco_set.predict


@pytest.fixture(scope="module")
def truth(tmp_path_factory, coco_set):
    return coco_set.write(tmp_path_factory.mktemp("coco") / "truth.json", images=60)


@pytest.fixture(scope="module")
def predictions(truth, predict):
    return predict(truth)


def test_the_set_has_what_makes_evaluation_hard(truth, predictions):
    content = json.loads(truth.read_text())
    busy = {annotation["image_id"] for annotation in content["annotations"]}
    used = {annotation["category_id"] for annotation in content["annotations"]}
    assert sum(annotation["iscrowd"] for annotation in content["annotations"]) > 10
    assert len(busy) < len(content["images"]) and 90 not in used
    assert len({entry["score"] for entry in predictions}) == 5 < len(predictions)


def assert_same(predictions, truth, tasks):
    fast, slow = (score(truth, predictions, tasks=tasks, engine=engine) for engine in ENGINES)
    for task in tasks:
        assert fast[task].keys() == slow[task].keys() >= set(FIGURES[task])
        for name, value in slow[task].items():
            assert fast[task][name] == (None if value is None else pytest.approx(value, abs=1e-6)), (task, name)
    return slow


def test_both_engines_agree_in_all_twelve_figures_and_every_category(truth, predictions):
    figures = assert_same(predictions, truth, BOTH)
    assert 5 < figures["bbox"]["AP"] < 95 and figures["bbox"]["AP-kind-90"] is None
    assert None not in [figures[task][name] for task in BOTH for name in FIGURES[task]]


def test_they_agree_on_more_detections_an_image_than_are_counted(truth, predict):
    many = predict(truth, copies=60, steps=20)
    most = max(sum(entry["image_id"] == image for entry in many) for image in {entry["image_id"] for entry in many})
    assert most > 100
    assert_same(many, truth, ["bbox"])


def test_they_agree_on_all_scores_tied_and_on_one_prediction(truth, predictions):
    assert_same([{**entry, "score": 0.5} for entry in predictions], truth, BOTH)
    assert_same(predictions[:1], truth, BOTH)


def test_they_agree_on_the_drawn_scenes(scenes, predict):
    found = predict(scenes / "detection/val.json", pixels=2)
    for entry in found:
        entry["segmentation"]["size"] = [64, 64]
    assert_same(found, scenes / "detection/val.json", ["bbox"])


def test_they_agree_on_keypoints(tmp_path, coco_set):
    """Seventeen points a person, some not labelled; predictions off by a few pixels."""
    import numpy as np

    rng = np.random.default_rng(0)
    truth = coco_set.write(tmp_path / "truth.json", images=20)
    content, found = json.loads(truth.read_text()), []
    for annotation in content["annotations"]:
        x, y, side, _ = annotation["bbox"]
        places = rng.uniform(0, side, (17, 2)) + (x, y)
        seen = rng.integers(0, 3, 17)
        annotation["keypoints"] = np.c_[places, seen].ravel().tolist()
        annotation["num_keypoints"] = int((seen > 0).sum())
        guess = np.c_[places + rng.normal(0, side / 15, (17, 2)), np.ones(17)]
        found.append({key: annotation[key] for key in ("image_id", "category_id", "bbox")})
        found[-1] |= {"score": float(rng.integers(1, 6)) / 5, "keypoints": guess.ravel().tolist()}
    truth.write_text(json.dumps(content))
    assert 5 < assert_same(found, truth, ["keypoints"])["keypoints"]["AP"] < 95


@pytest.mark.parametrize("engine", ENGINES)
def test_the_truth_itself_scores_100_and_nothing_scores_0(truth, predict, engine):
    exact = predict(truth, pixels=0, copies=1)[: len(json.loads(truth.read_text())["annotations"])]
    for entry, annotation in zip(exact, json.loads(truth.read_text())["annotations"], strict=True):
        entry["category_id"] = annotation["category_id"]
    figures = score(truth, exact, tasks=BOTH, engine=engine)
    assert figures["bbox"]["AP"] == pytest.approx(100)
    assert figures["segm"]["AP75"] == pytest.approx(100)
    empty = score(truth, [], tasks=["bbox"], engine=engine)["bbox"]
    assert empty["AP"] == empty["AP50"] == empty["AP-kind-2"] == 0 and empty["AP-kind-90"] is None
    assert figures["bbox"].keys() >= empty.keys()


@pytest.mark.parametrize("engine", ENGINES)
def test_predictions_are_not_changed_by_scoring(truth, predictions, engine):
    before = json.dumps(predictions)
    score(truth, predictions, tasks=BOTH, engine=engine)
    assert json.dumps(predictions) == before


def test_sizes_of_masks_are_those_of_the_mask_and_not_of_its_box(truth, predictions):
    huge = [{**entry, "bbox": [0, 0, 300, 200]} for entry in predictions]
    both = [score(truth, entries, tasks=["segm"], engine="hotcoco")["segm"] for entries in (predictions, huge)]
    assert both[0] == both[1]


def test_a_kind_of_error_costs_where_it_was_made_and_nowhere_else(truth, predict):
    content = json.loads(truth.read_text())["annotations"]
    exact = predict(truth, pixels=0, copies=1)[: len(content)]
    right = [{**entry, "category_id": a["category_id"]} for entry, a in zip(exact, content, strict=True)]
    for gains in errors(truth, right, tasks=BOTH).values():
        assert gains.keys() == coco.ERRORS.keys() and max(gains.values()) < 1e-9
    other = {2: 3, 3: 2, 7: 11, 11: 7}
    swapped = [{**e, "category_id": other[e["category_id"]]} if k % 3 == 0 else e for k, e in enumerate(right)]
    gains = errors(truth, swapped, tasks=["bbox"])["bbox"]
    assert max(gains, key=gains.get) == "Cls" and gains["Cls"] > 10
    moved = [{**e, "bbox": [e["bbox"][0] + 0.45 * e["bbox"][2], *e["bbox"][1:]]} for e in right]
    gains = errors(truth, moved, tasks=["bbox"])["bbox"]
    assert max(gains, key=gains.get) == "Loc" and gains["Loc"] > 10
    assert errors(truth, [], tasks=BOTH) == {}


def test_the_cross_check_passes_what_is_right_and_names_what_is_not(truth, predictions):
    figures = score(truth, predictions, tasks=["bbox"], engine="hotcoco")
    assert cross_check(truth, predictions, figures) <= 1e-6
    figures["bbox"]["APm"] += 1e-4
    with pytest.raises(UserError, match="bbox APm is .* by pycocotools"):
        cross_check(truth, predictions, figures)


def test_an_unknown_engine_is_answered_with_the_known_ones(truth):
    with pytest.raises(UserError, match="'faster'; known: hotcoco, pycocotools"):
        score(truth, [], tasks=["bbox"], engine="faster")
