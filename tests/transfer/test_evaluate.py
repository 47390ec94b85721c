"""Kept predictions are evaluated again: the same figures, without a model, and of no other data set."""

import gzip
import json
import subprocess
import sys

import pytest

from runtime import results
from runtime.command_line import UserError
from runtime.files import sha256
from transfer import evaluate
from transfer.metrics import coco
from transfer.metrics.coco_results import CocoResults
from transfer.metrics.predictions import check_against

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def kept(tmp_path_factory, coco_set):
    """The folder of a run on the benchmark ``blocks``: run.json, predictions.json.gz and result.json."""
    folder = tmp_path_factory.mktemp("run")
    truth = coco_set.write(folder / "truth.json", images=30)
    found = coco_set.predict(truth)
    with gzip.open(folder / "predictions.json.gz", "wt") as file:
        json.dump(found, file)
    (folder / "run.json").write_text(json.dumps({"benchmark": "blocks", "val_json_sha256": sha256(truth)}))
    common = {"method": "random", "recipe": "", "epochs": 0, "benchmark": "blocks", "protocol": "demo-fpn", "seed": 0}
    figures = coco.score(truth, found, tasks=["bbox", "segm"], engine="pycocotools")
    records = results.flatten(figures, **common, commit="abc", weights_sha256="", n=30)
    results.write(folder / "result.json", records)
    return folder


def arguments(folder, **changes) -> list[str]:
    options = {"--results": folder, "--benchmark": "blocks", "--val-json": folder / "truth.json"} | changes
    return [str(word) for pair in options.items() for word in pair if word is not None]


def test_the_figures_are_those_of_the_run_and_the_engines_agree(kept, tmp_path, capsys):
    evaluate.main([*arguments(kept), "--cross-check", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert "result.json says the same" in said and "pycocotools agrees in every figure" in said
    content = json.loads((tmp_path / "evaluation.json").read_text())
    recorded = {(r.task, r.metric): r.value for r in results.read(kept / "result.json")}
    assert recorded == {
        (task, name): pytest.approx(value, abs=1e-6)
        for task, values in content["figures"].items()
        for name, value in values.items()
        if value is not None
    }
    assert content["errors"]["segm"].keys() == content["errors"]["bbox"].keys() and content["largest_difference"] < 1e-6
    assert (tmp_path / "errors.png").stat().st_size > 10_000
    assert not (kept / "evaluation.json").exists()


def test_a_real_run_is_evaluated_again_to_the_same_figures(fine_tuned, scenes, tmp_path, capsys):
    folder = fine_tuned("demo-fpn")
    data = ["--benchmark", "scenes", "--data", str(scenes)]
    evaluate.main(["--results", str(folder), *data, "--cross-check", "--out", str(tmp_path)])
    assert "result.json says the same" in capsys.readouterr().out
    kept = results.context(folder / "result.json")["errors"]
    assert kept == json.loads((tmp_path / "evaluation.json").read_text())["errors"]
    assert not kept or (folder / "errors.png").exists()


def test_a_result_that_departs_from_its_predictions_is_named(kept, tmp_path, capsys):
    for name in ("run.json", "predictions.json.gz", "truth.json"):
        (tmp_path / name).write_bytes((kept / name).read_bytes())
    content = json.loads((kept / "result.json").read_text())
    content["records"][0]["value"] += 1
    (tmp_path / "result.json").write_text(json.dumps(content))
    evaluate.main(arguments(tmp_path))
    said = capsys.readouterr().out
    assert "note: bbox AP is" in said and "says the same" not in said


def test_it_needs_neither_detectron2_nor_torch(kept, tmp_path):
    """A machine that only has the results: importing them there would fail, and torch alone takes half a GiB."""
    words = [*arguments(kept), "--out", str(tmp_path)]
    lacking = "import sys; sys.modules |= dict(detectron2=None, torch=None)"
    code = f"{lacking}; from transfer import evaluate; evaluate.main({words!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env={"CUDA_VISIBLE_DEVICES": ""})


def test_results_of_another_data_set_are_refused(kept, tmp_path, coco_set):
    with pytest.raises(UserError, match="holds predictions on blocks, not on coco_2017; use --benchmark blocks"):
        evaluate.main(arguments(kept, **{"--benchmark": "coco_2017"}))
    other = coco_set.write(tmp_path / "other.json", images=30, seed=5)
    with pytest.raises(UserError, match="whose ground truth has sha256 .*; give that data set"):
        evaluate.main(arguments(kept, **{"--val-json": other}))


def test_predictions_of_unknown_origin_must_fit_the_images_and_categories(kept, tmp_path, coco_set):
    few = coco_set.write(tmp_path / "few.json", images=3)
    loose = tmp_path / "loose.json.gz"
    loose.write_bytes((kept / "predictions.json.gz").read_bytes())
    with pytest.raises(UserError, match="predictions for image_id 9.., which .*few.json does not have"):
        evaluate.main(arguments(loose, **{"--val-json": few}))
    content = json.loads(gzip.decompress(loose.read_bytes()))
    with pytest.raises(UserError, match="for category_id 5, which"):
        check_against(loose, CocoResults([{**content[0], "category_id": 5}]), kept / "truth.json")
    content[0]["segmentation"] = {"size": [10, 10], "counts": "d3"}
    with pytest.raises(UserError, match=r"entry 0 has run lengths of another size than its image \[10, 10\]"):
        check_against(loose, CocoResults(content), kept / "truth.json")


PREDICTED = b'[{"image_id": 1, "category_id": 1, "bbox": %s}]'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json", "cannot be read as COCO results"),
        (b'{"images": []}', "holds a dict, expected a list"),
        (b'[{"image_id": 1}]', "entry 0 is no COCO result; expected image_id, category_id, score and one of bbox"),
        (PREDICTED % b'[1, 2, 3], "score": 1.0', r"entry 0 has bbox \[1, 2, 3\], expected x, y, width and height"),
        (PREDICTED % b'[1, 2, 3, null], "score": 1.0', r"entry 0 has bbox \[1, 2, 3, None\], expected"),
        (PREDICTED % b'[1, 2, 3, 4], "score": NaN', "entry 0 has score nan, expected a number"),
        (PREDICTED % b'[1, 2, -3, 4], "score": 1.0', r"entry 0 has bbox \[1, 2, -3, 4\], expected"),
        (
            b'[{"image_id": true, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1}]',
            "entry 0 has image_id True, expected a whole number",
        ),
        (
            (
                PREDICTED % b'[1, 2, 3, 4], "score": 0.5, "segmentation": [[1, 1, 4, 1, 4, 4]]}, {"image_id": 1, '
                b'"category_id": 1, "score": 0.5, "bbox": [1, 2, 3, 4]'
            ),
            "entry 1 has no segmentation, others have one; predict it for all or none",
        ),
        (
            PREDICTED % b'[1, 2, 3, 4], "score": 0.5, "segmentation": null',
            "entry 0 has segmentation None, expected run lengths",
        ),
    ],
)
def test_a_file_that_holds_no_results_is_named(kept, tmp_path, content, message):
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        evaluate.main(arguments(tmp_path / "p.json", **{"--val-json": kept / "truth.json"}))


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"images": [{}], "categories": [], "annotations": []}', b"{"])
def test_a_ground_truth_that_is_none_is_named(tmp_path, content):
    (tmp_path / "truth.json").write_bytes(content)
    (tmp_path / "p.json").write_bytes(b"[]")
    with pytest.raises(UserError, match="truth.json (holds a|lacks the list|has 1 images|is no JSON)"):
        evaluate.main(arguments(tmp_path / "p.json", **{"--val-json": tmp_path / "truth.json"}))


def test_a_cut_off_file_and_a_missing_one_are_named(kept, tmp_path):
    (tmp_path / "predictions.json.gz").write_bytes((kept / "predictions.json.gz").read_bytes()[:500])
    with pytest.raises(UserError, match="cannot be read as COCO results"):
        evaluate.main(arguments(tmp_path, **{"--val-json": kept / "truth.json"}))
    with pytest.raises(UserError, match="nothing/predictions.json.gz does not exist|nothing does not exist"):
        evaluate.main(arguments(tmp_path / "nothing", **{"--val-json": kept / "truth.json"}))


def test_a_detector_that_found_nothing_scores_0_on_the_tasks_of_its_run(kept, tmp_path, capsys):
    for name in ("run.json", "result.json", "truth.json"):
        (tmp_path / name).write_bytes((kept / name).read_bytes())
    with gzip.open(tmp_path / "predictions.json.gz", "wt") as file:
        file.write("[]")
    evaluate.main(arguments(tmp_path))
    content = json.loads((tmp_path / "evaluation.json").read_text())
    assert [content["figures"][task]["AP"] for task in ("bbox", "segm")] == [0, 0] and content["errors"] == {}


def test_a_data_set_with_a_metric_of_its_own_is_scored_by_it(kept, tmp_path, capsys):
    """VOC 2007's eleven points are not COCO's hundred and one, and pycocotools cannot check them."""
    content = json.loads((kept / "truth.json").read_text())
    parts = {key: content[key] for key in ("images", "annotations", "categories")}
    truth = tmp_path / "voc.json"
    truth.write_text(json.dumps({"info": {"metric": "voc-2007"}, **parts}))
    loose = tmp_path / "loose.json.gz"
    loose.write_bytes((kept / "predictions.json.gz").read_bytes())
    words = arguments(loose, **{"--val-json": truth})
    evaluate.main(words)
    figures = json.loads((tmp_path / "evaluation.json").read_text())["figures"]
    recorded = {(r.task, r.metric): r.value for r in results.read(kept / "result.json")}
    assert figures.keys() == {"bbox"} and figures["bbox"]["AP50"] != recorded["bbox", "AP50"]
    with pytest.raises(UserError, match="blocks has that of voc-2007; no --cross-check"):
        evaluate.main([*words, "--cross-check"])


def test_wrong_options_are_one_line(kept, tmp_path):
    with pytest.raises(UserError, match="unknown benchmark 'coco'; known: .*coco_2017"):
        evaluate.main(["--results", str(kept), "--benchmark", "coco"])
    with pytest.raises(UserError, match="leave --data out"):
        evaluate.main([*arguments(kept), "--data", str(tmp_path)])
