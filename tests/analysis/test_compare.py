"""The interval of a difference: zero for equals, around a known shift, and over the truth as often as it says."""

import gzip
import json

import numpy as np
import pytest

from analysis import compare
from analysis.comparison.bootstrap import bootstrap
from analysis.comparison.image_matches import Matches
from runtime.command_line import UserError
from runtime.files import sha256


@pytest.fixture(scope="module")
def run(tmp_path_factory, coco_set):
    """``run(pixels)``: the folder of a detector whose boxes are that far off, on a data set of its ``seed``."""

    def make(pixels: float, *, seed: int = 0, benchmark: str = "blocks"):
        folder = tmp_path_factory.mktemp("run")
        truth = coco_set.write(folder / "truth.json", images=60, seed=seed)
        with gzip.open(folder / "predictions.json.gz", "wt") as file:
            json.dump(coco_set.predict(truth, pixels=pixels, steps=1000), file)
        (folder / "run.json").write_text(json.dumps({"benchmark": benchmark, "val_json_sha256": sha256(truth)}))
        return folder

    return make


@pytest.fixture(scope="module")
def good(run):
    return run(4.0)


@pytest.fixture(scope="module")
def bad(run):
    return run(9.0)


def differences(tmp_path, a, b, *options) -> dict[str, dict]:
    out = tmp_path / "difference.json"
    compare.main([str(a), str(b), "--val-json", str(a / "truth.json"), "--out", str(out), *options])
    return {(d["task"], d["metric"]): d for d in json.loads(out.read_text())["differences"]}


def test_a_detector_does_not_differ_from_itself(tmp_path, good):
    for found in differences(tmp_path, good, good, "--resamples", "50").values():
        assert (found["low"], found["difference"], found["high"], found["better"]) == (0, 0, 0, 0.5)


def test_a_shift_is_found_in_boxes_and_masks_and_turns_with_the_order(tmp_path, good, bad, capsys):
    there = differences(tmp_path, good, bad, "--resamples", "100")
    assert "box AP " in capsys.readouterr().out
    back = differences(tmp_path, bad, good, "--resamples", "100")
    assert there.keys() == {(task, metric) for task in ("bbox", "segm") for metric in ("AP", "AP50", "AP75")}
    for key, found in there.items():
        assert 0 < found["low"] < found["difference"] < found["high"], key
        turned = [-back[key][name] for name in ("high", "difference", "low")]
        assert turned == pytest.approx([found[name] for name in ("low", "difference", "high")])


def test_the_same_seed_gives_the_same_interval(tmp_path, good, bad):
    runs = [differences(tmp_path, good, bad, "--resamples", "30", "--seed", seed) for seed in ("1", "1", "2")]
    assert runs[0] == runs[1] != runs[2]


def simulated(rng, right: np.ndarray) -> Matches:
    """A detector of one category: one object and one detection an image, right or wrong as given, scores at random."""
    order = rng.permutation(len(right))
    place = np.flatnonzero(right[order])
    nothing = np.zeros(0, int)
    places, segments = np.tile(place, 10), np.repeat(np.arange(10), len(place))
    objects = np.ones((1, len(right)))
    return Matches(len(right), objects, order, np.zeros(1, int), places, segments, nothing, nothing)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    """Two detectors that are right on 75% and 65% of images, dependently; the truth is their AP on 50,000 images."""
    rng = np.random.default_rng(0)

    def detectors(images: int) -> tuple[Matches, Matches]:
        luck = rng.random(images)
        return simulated(rng, luck + rng.normal(0, 0.1, images) < 0.75), simulated(rng, luck < 0.65)

    [truth, *_] = bootstrap({"bbox": detectors(50_000)}, resamples=1, seed=0)
    covered = widths = 0
    for trial in range(60):
        [found, *_] = bootstrap({"bbox": detectors(200)}, resamples=100, seed=trial)
        covered += found.low <= truth.value <= found.high
        widths += found.high - found.low
    assert 52 <= covered <= 59  # 87% to 98% of the trials
    assert 2 < widths / 60 < 20


def test_runs_on_different_images_are_refused(run, good, tmp_path):
    other, elsewhere = run(4.0, seed=3), run(4.0, benchmark="cells")
    for rival in (other, elsewhere):
        with pytest.raises(UserError, match="not evaluated on the same images: .*; compare runs on one data set"):
            compare.main([str(good), str(rival), "--val-json", str(good / "truth.json")])
    with pytest.raises(UserError, match="whose ground truth has sha256"):
        compare.main([str(good), str(good), "--val-json", str(other / "truth.json")])


def test_loose_files_need_the_name_of_their_data_set_and_must_fit_it(good, tmp_path, coco_set):
    loose = tmp_path / "loose.json.gz"
    loose.write_bytes((good / "predictions.json.gz").read_bytes())
    with pytest.raises(UserError, match="does not say on which data set"):
        compare.main([str(loose), str(loose)])
    few = coco_set.write(tmp_path / "few.json", images=3)
    with pytest.raises(UserError, match="was it another data set"):
        compare.main([str(loose), str(loose), "--val-json", str(few)])


@pytest.mark.parametrize("wrong", [("--resamples", "0"), ("--confidence", "95"), ("--seed", "-1")])
def test_impossible_settings_are_one_line(good, wrong):
    with pytest.raises(UserError, match=wrong[0]):
        compare.main([str(good), str(good), *wrong])


def few_objects(folder, objects):
    """A data set of three images of one class, with ``objects`` in the first, and a detector that found one there."""
    images = [{"id": k, "width": 64, "height": 64, "file_name": f"{k}.jpg"} for k in (1, 2, 3)]
    kind = {"bbox": [8, 8, 32, 32], "image_id": 1, "category_id": 1}
    found = [{"id": k + 1, "area": 1024, "iscrowd": 0, **kind} for k in range(objects)]
    content = {"images": images, "annotations": found, "categories": [{"id": 1, "name": "disk"}]}
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "right.json").write_text(json.dumps([{**kind, "score": 0.9}]))
    (folder / "none.json").write_text("[]")
    return [str(folder / name) for name in ("right.json", "none.json", "truth.json")]


def test_draws_without_an_object_say_nothing(tmp_path, capsys):
    """Of three images one has an object: 8 of 27 draws have none."""
    a, b, truth = few_objects(tmp_path, 1)
    compare.main([a, b, "--val-json", truth, "--resamples", "50", "--out", str(tmp_path / "o")])
    found = json.loads((tmp_path / "o").read_text())["differences"]
    assert all((d["low"], d["high"], d["better"]) == pytest.approx((100, 100, 1)) for d in found) and found
    assert "nan" not in capsys.readouterr().out
    seed = next(k for k in range(99) if 0 not in np.random.default_rng(k).integers(3, size=3))
    with pytest.raises(UserError, match="none of the 1 draws of images holds an object to find; give more"):
        compare.main([a, b, "--val-json", truth, "--resamples", "1", "--seed", str(seed)])


def test_a_ground_truth_without_objects_is_one_line(tmp_path):
    a, b, truth = few_objects(tmp_path, 0)
    for pair in ((a, b), (a, a), (b, b)):
        with pytest.raises(UserError, match="truth.json holds no object to find"):
            compare.main([*pair, "--val-json", truth, "--out", str(tmp_path / "o")])


def test_a_detector_with_no_detections_can_be_compared(good, tmp_path, coco_set):
    (tmp_path / "none.json").write_text("[]")
    for order in (1, -1):
        words = [str(good), str(tmp_path / "none.json")][::order]
        compare.main(
            [*words, "--val-json", str(good / "truth.json"), "--resamples", "20", "--out", str(tmp_path / "o")]
        )
        found = json.loads((tmp_path / "o").read_text())["differences"]
        assert {d["task"] for d in found} == {"bbox", "segm"}
        assert all(d["difference"] * order > 0 and min(d["a"], d["b"]) == 0 for d in found)
