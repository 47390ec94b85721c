"""Whatever is in an annotation or results file, it is refused in one line or evaluated to the right figures."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from runtime.command_line import UserError
from transfer.datasets import coco_json, inspection
from transfer.datasets.benchmarks import Split
from transfer.datasets.validate_coco import check
from transfer.detection import records
from transfer.metrics import coco, predictions

HEIGHT, WIDTH = 30, 40
TASKS = ["bbox", "segm"]
budget = settings(max_examples=60, suppress_health_check=list(HealthCheck))


def run_lengths(x: int, y: int, width: int, height: int) -> dict:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    return {"size": [HEIGHT, WIDTH], "counts": coco_mask.encode(mask)["counts"].decode()}


def sound() -> dict:
    """Two images, three categories, polygons, both kinds of run lengths, a crowd."""
    content = {
        "info": {"year": "2024"},
        "licenses": None,
        "images": [{"id": i, "file_name": f"{i}.png", "width": WIDTH, "height": HEIGHT} for i in (1, 2)],
        "annotations": [],
        "categories": [{"id": i, "name": f"kind {i}"} for i in (1, 2, 9)],
    }
    masks = [
        [[5, 5, 25, 5, 25, 15, 5, 15]],
        run_lengths(5, 5, 20, 10),
        {"size": [HEIGHT, WIDTH], "counts": [200, 100, HEIGHT * WIDTH - 300]},
        [[5, 5, 15, 5, 15, 15], [15, 5, 25, 5, 25, 15]],
    ]
    for number, mask in enumerate(masks):
        content["annotations"].append(
            {
                "id": number,
                "image_id": 1 + number % 2,
                "category_id": [1, 2, 9, 1][number],
                "bbox": [5, 5, 20, 10],
                "area": 200,
                "iscrowd": int(number == 2),
                "segmentation": mask,
            }
        )
    return content


SCALARS = [None, True, False, 0, -1, 1, 2, 7.0, 0.5, 2**70, -(2**70), float("nan"), float("inf"), 1e308, 10**400]
SCALARS += ["", "1", "a", "\udc80", "\0", "../1.png", "1.png", "é" * 400]
values = st.one_of(
    st.sampled_from(SCALARS),
    st.lists(st.sampled_from(SCALARS), max_size=8),
    st.lists(st.lists(st.one_of(st.integers(-5, 50), st.sampled_from(SCALARS)), max_size=9), max_size=3),
    st.fixed_dictionaries(
        {},
        optional={
            "size": st.sampled_from([[HEIGHT, WIDTH], [WIDTH, HEIGHT], [30.0, 40.0], None, "3"]),
            "counts": st.one_of(st.text(max_size=12), st.lists(st.integers(-5, 1500), max_size=5), st.none()),
        },
    ),
    st.lists(st.floats(-5, 60), min_size=4, max_size=4),
)
KEYS = ("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation", "ignore", "keypoints", "name")
KEYS += ("file_name", "width", "height", "score", "num_keypoints", "attributes")
changes = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "delete", "repeat", "replace"]),
        st.sampled_from(["images", "annotations", "annotations", "annotations", "categories"]),
        st.integers(0, 5),
        st.sampled_from(KEYS),
        values,
    ),
    max_size=3,
)


def changed(content: dict, edits) -> dict:
    for kind, part, number, key, value in edits:
        entries = content[part]
        if not entries:
            continue
        position = number % len(entries)
        if kind == "repeat":
            entries.append(copy.deepcopy(entries[position]))
        elif kind == "replace":
            entries[position] = value
        elif isinstance(entries[position], dict) and kind == "delete":
            entries[position].pop(key, None)
        elif isinstance(entries[position], dict):
            entries[position][key] = value
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("fuzz")
    (root / "images").mkdir()
    for number in (1, 2):
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / f"images/{number}.png")
    return root


def reference(content: dict, found: list[dict], task: str) -> float:
    """AP by pycocotools of a content that was accepted, made ready here by the plainest means."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = sorted(image["id"] for image in content["images"])
    categories = sorted(category["id"] for category in content["categories"])
    truth = {
        "images": [{"id": images.index(i["id"]), "width": WIDTH, "height": HEIGHT} for i in content["images"]],
        "categories": [{"id": categories.index(c["id"]), "name": "x"} for c in content["categories"]],
        "annotations": [],
    }
    for number, entry in enumerate(content["annotations"], 1):
        mask = entry.get("segmentation")
        if isinstance(mask, list):
            mask = [polygon for polygon in mask if len(polygon) >= 6]
        area = entry.get("area")
        if area is None:
            packed = coco_mask.frPyObjects(mask, HEIGHT, WIDTH) if isinstance(mask, list) and mask else None
            whole = coco_mask.merge(packed) if packed else mask
            if mask and not packed and isinstance(mask["counts"], list):
                whole = coco_mask.frPyObjects(mask, HEIGHT, WIDTH)
            area = float(coco_mask.area(whole)) if mask else entry["bbox"][2] * entry["bbox"][3]
        made = {"id": number, "image_id": images.index(entry["image_id"]), "area": area, "bbox": entry["bbox"]}
        made |= {"category_id": categories.index(entry["category_id"]), "iscrowd": int(entry.get("iscrowd") or 0)}
        truth["annotations"].append(made | ({"segmentation": mask} if mask else {}))
    key = {"bbox": "bbox", "segm": "segmentation"}[task]
    results = [
        {
            "image_id": images.index(entry["image_id"]),
            "category_id": categories.index(entry["category_id"]),
            "score": entry["score"],
            key: entry[key],
        }
        for entry in found
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = truth
        ground.createIndex()
        result = COCOeval(ground, ground.loadRes(results), task)
        result.evaluate()
        result.accumulate()
        result.summarize()
    return float(result.stats[0])


def predicted(content: dict) -> list[dict]:
    """A prediction of each object, half of them moved."""
    return [
        {
            "image_id": entry["image_id"],
            "category_id": entry["category_id"],
            "bbox": [5 + 3 * (number % 2), 5, 20, 10],
            "segmentation": run_lengths(5 + 3 * (number % 2), 5, 20, 10),
            "score": 0.9 - 0.1 * (number % 3),
        }
        for number, entry in enumerate(content["annotations"])
    ]


@budget
@given(edits=changes)
@example(edits=[("set", "annotations", 0, "segmentation", [[5, 5, 9, 9]])])
@example(edits=[("set", "annotations", 3, "id", -5), ("set", "annotations", 1, "area", None)])
@example(edits=[("set", "images", 0, "id", 2**70)])
@example(edits=[("set", "annotations", 0, "num_keypoints", [])])
@example(edits=[("set", "annotations", 0, "segmentation", {"size": [HEIGHT, WIDTH], "counts": "0oooooN"})])
@example(edits=[("set", "images", 0, "width", 1e308)])
@example(edits=[("set", "annotations", 1, "bbox", [0, 0, 0, 0])])
def test_a_changed_annotation_file_is_refused_or_scored_as_pycocotools_scores_it(folder, edits):
    path = folder / "data.json"
    content = changed(sound(), edits)
    path.write_text(json.dumps(content))
    split = Split(path, folder / "images")
    accepted = {}
    for evaluated in (False, True):
        try:
            check(split, evaluated=evaluated)
            accepted[evaluated] = True
        except UserError as error:
            assert all("\n" not in line for line in error.faults)
            accepted[evaluated] = False
        with contextlib.suppress(UserError):  # of a file that is no COCO json
            listed = inspection.check(coco_json.read(path), split, evaluated=evaluated, decode=False)
            assert any(fault.stops for fault in listed) != accepted[evaluated] or not accepted[evaluated]
            assert inspection.lines(listed) is not None
    if accepted[False]:
        _read_by_detectron2(split)
    if accepted[True]:
        content = json.loads(path.read_text())
        found = predicted(content)
        tasks = TASKS if any(entry.get("segmentation") for entry in content["annotations"]) else ["bbox"]
        for engine in coco.ENGINES if found else ():
            figures = coco.score(path, found, tasks=tasks, engine=engine)
            for task in tasks:
                expected, value = reference(content, found, task), figures[task]["AP"]
                assert (value is None and expected == -1) or value == pytest.approx(100 * expected, abs=1e-6)


def _read_by_detectron2(split: Split) -> None:
    from detectron2.data.detection_utils import annotations_to_instances
    from detectron2.structures import BoxMode

    for record in records.read(split):
        objects = [entry | {"bbox_mode": BoxMode.XYWH_ABS} for entry in record["annotations"] if not entry["iscrowd"]]
        for entry in objects:
            entry["bbox"] = BoxMode.convert(entry["bbox"], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
        for entry in objects:
            kind = "bitmask" if isinstance(entry.get("segmentation"), dict) else "polygon"
            if kind == "bitmask":
                entry["segmentation"] = coco_mask.decode(entry["segmentation"])
            annotations_to_instances([entry], (record["height"], record["width"]), mask_format=kind)


@budget
@given(edits=changes)
@example(edits=[("set", "annotations", 0, "segmentation", [[5, 5, 9, 9]])])
@example(edits=[("set", "annotations", 0, "segmentation", {"size": [HEIGHT, WIDTH], "counts": [0, 50_000_000]})])
@example(edits=[("set", "annotations", 0, "bbox", [1, 2, float("nan"), 4])])
@example(edits=[("set", "annotations", 0, "image_id", 7.0)])
@example(edits=[("set", "annotations", 0, "segmentation", [[5, 5, 25, 5, 25, 15, 5, 15]])])
@example(edits=[("set", "annotations", 0, "segmentation", {"size": [HEIGHT, WIDTH], "counts": [200, 1000]})])
def test_a_changed_results_file_is_refused_or_scored(folder, edits):
    content = sound()
    (folder / "truth.json").write_text(json.dumps(content))
    found = changed({"annotations": predicted(content), "images": [], "categories": []}, edits)["annotations"]
    path = folder / "results.json"
    path.write_text(json.dumps(found))
    try:
        read = predictions.read(path)
        predictions.check_against(path, read, folder / "truth.json")
    except UserError as error:
        assert all("\n" not in line for line in error.faults)
        return
    for task in predictions.tasks(read):
        values = [coco.score(folder / "truth.json", read, tasks=[task], engine=engine) for engine in coco.ENGINES]
        for name, value in values[0][task].items():
            other = values[1][task][name]
            assert (value is None) == (other is None) and (value is None or value == pytest.approx(other, abs=1e-6))
