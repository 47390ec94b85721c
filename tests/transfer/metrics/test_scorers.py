"""Each data set's own metric gives the figures of the program its papers used."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from transfer.datasets.benchmarks import locate
from transfer.metrics import scorers

NO_PATHS = dict.fromkeys(("train_json", "train_images", "val_json", "val_images"))


def shifted(truth: Path, *, seed: int) -> list[dict]:
    """Two detections for each object, one or the other a few pixels away, some of another class; all scores differ."""
    rng = np.random.default_rng(seed)
    content = json.loads(truth.read_text())
    kinds = sorted({entry["category_id"] for entry in content["annotations"]})
    found = []
    for entry in content["annotations"]:
        for _ in range(2):
            steps = rng.integers(-3, 4, 2)
            kind = entry["category_id"] if rng.random() < 0.8 else int(rng.choice(kinds))
            x, y, width, height = entry["bbox"]
            box = [x + int(steps[0]), y + int(steps[1]), width, height]
            result = {"image_id": entry["image_id"], "category_id": kind, "bbox": box}
            if "segmentation" in entry:
                mask = np.roll(coco_mask.decode(entry["segmentation"]), steps[::-1], axis=(0, 1))
                runs = coco_mask.encode(np.asfortranarray(mask))
                result["segmentation"] = {"size": list(mask.shape), "counts": runs["counts"].decode()}
            found.append(result)
    scores = rng.permutation(len(found)) / 1000 + 0.3
    return [result | {"score": float(value)} for result, value in zip(found, scores, strict=True)]


def train_json(name: str) -> Path:
    return locate(name, root=None, paths=NO_PATHS).train.json


def test_voc_figures_are_those_of_detectron2s_evaluator(datasets, tmp_path):
    import torch
    from detectron2.data import MetadataCatalog
    from detectron2.evaluation import PascalVOCDetectionEvaluator
    from detectron2.structures import Boxes, Instances

    content = json.loads(train_json("voc_2007_2012").read_text())
    content["images"] = [image for image in content["images"] if image["file_name"].startswith("VOC2007")]
    known = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] in known]
    truth = tmp_path / "voc2007.json"
    truth.write_text(json.dumps({"info": {"metric": "voc-2007"}, **content}))
    predictions = shifted(truth, seed=0)

    names = {category["id"]: category["name"] for category in content["categories"]}
    easy = {names[entry["category_id"]] for entry in content["annotations"] if not entry["difficult"]}
    classes = [name for name in names.values() if name in easy]
    about = MetadataCatalog.get("drawn-voc")
    about.set(dirname=str(datasets / "VOC2007"), split="trainval", year=2007, thing_classes=classes)
    reference = PascalVOCDetectionEvaluator("drawn-voc")
    reference.reset()
    for number, stem in known.items():
        mine = [p for p in predictions if p["image_id"] == number and names[p["category_id"]] in classes]
        found = Instances((64, 64))
        boxes = torch.tensor([p["bbox"] for p in mine], dtype=torch.float32).reshape(-1, 4)
        found.pred_boxes = Boxes(torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1))
        found.scores = torch.tensor([p["score"] for p in mine])
        found.pred_classes = torch.tensor([classes.index(names[p["category_id"]]) for p in mine])
        reference.process([{"image_id": stem}], [{"instances": found}])
    expected = reference.evaluate()["bbox"]

    ours = scorers.score(truth, predictions, tasks=["bbox", "segm"], engine="hotcoco")
    assert set(ours) == {"bbox"}
    assert {key: ours["bbox"][key] for key in expected} == pytest.approx(expected, abs=1e-9)
    assert 20 < expected["AP"] < 80, "the drawn detections should be neither all right nor all wrong"
    assert ours["bbox"]["AP-sheep"] is None


def test_cityscapes_figures_are_those_of_its_own_script():
    """Pinned from cityscapesScripts 2.3.0, evalInstanceLevelSemanticLabeling, on the same drawn truth and predictions.

    The script itself does not run under numpy 2.4: its np.in1d and its writing of JSON were mended for that.
    """
    truth = Path(__file__).with_name("cityscapes_truth.json")
    ours = scorers.score(truth, shifted(truth, seed=0), tasks=["bbox", "segm"], engine="hotcoco")
    assert set(ours) == {"segm"}
    expected = {"AP": 12.771825396825, "AP50": 36.502976190476, "AP-person": 35.055555555556, "AP-train": 0.0}
    expected |= {"AP-motorcycle": 40.0, "AP-bicycle": 11.202380952381}
    assert {key: ours["segm"][key] for key in expected} == pytest.approx(expected, abs=1e-9)


def test_lvis_figures_are_those_of_its_own_package():
    """Pinned from lvis 0.5.3 on the same drawn truth and predictions."""
    truth = Path(__file__).with_name("lvis_truth.json")
    ours = scorers.score(truth, shifted(truth, seed=0), tasks=["bbox", "segm"], engine="hotcoco")
    names = ("AP", "AP50", "AP75", "APs", "APm", "APr", "APc", "APf")
    boxes = (50.035488542, 84.498309034, 54.379583563, 50.704243639, 67.816281628, 48.465346535, 45.492334948)
    masks = (32.553430549, 71.262874914, 26.582196681, 29.664207698, 70.206270627, 22.049504950, 33.650853181)
    expected = {
        "bbox": dict(zip(names, (*boxes, 55.625403474), strict=True)),
        "segm": dict(zip(names, (*masks, 38.458624983), strict=True)),
    }
    assert {task: {name: ours[task][name] for name in expected[task]} for task in expected} == {
        task: pytest.approx(values, abs=1e-6) for task, values in expected.items()
    }


@pytest.mark.parametrize("name", ["voc_2007_2012", "cityscapes", "lvis_v1"])
def test_perfect_predictions_score_100_and_none_score_0(datasets, name):
    truth = train_json(name)
    content = json.loads(truth.read_text())
    perfect = [entry | {"score": 0.9} for entry in content["annotations"] if not entry["iscrowd"]]
    for task, values in scorers.score(truth, perfect, tasks=["bbox", "segm"], engine="hotcoco").items():
        assert values["AP"] == pytest.approx(100), task
    for values in scorers.score(truth, [], tasks=["bbox", "segm"], engine="hotcoco").values():
        assert values["AP"] == 0
