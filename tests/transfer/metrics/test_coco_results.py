"""Results in columns are the results."""

import gzip
import json

import numpy as np
import pytest
from hotcoco import COCO

from runtime import read
from transfer.detection.evaluation import write_predictions
from transfer.metrics import coco_results, predictions
from transfer.metrics.coco_results import CocoResults

RUNS = {"size": [4, 6], "counts": "04d0"}
POLYGONS = [[0.0, 0.0, 3.5, 0.0, 3.5, 2.0]]


def entry(number: int, **more) -> dict:
    box = [0.1 * number, 2.0, 3.0, 1 / (number + 1)]
    return {"image_id": number, "category_id": 7, "bbox": box, "score": 0.1 + number, **more}


KINDS = {
    "boxes": [entry(number) for number in range(3)],
    "masks of all sorts": [
        entry(number, segmentation=mask) for number, mask in enumerate((RUNS, POLYGONS, None, RUNS))
    ],
    "keypoints": [entry(number, keypoints=[float(number)] * 6) for number in range(2)],
    "nothing": [],
}


@pytest.mark.parametrize("block", [1, 6, 1 << 18])
@pytest.mark.parametrize("entries", KINDS.values(), ids=KINDS)
def test_they_are_what_was_put_in(entries, block, monkeypatch):
    monkeypatch.setattr(coco_results, "BLOCK", block)
    found = CocoResults(entries)
    assert list(found) == entries == found[:] and found == entries and found[-2:] == entries[-2:]
    twice = CocoResults(entries)
    twice.extend(CocoResults(entries))
    twice.extend(twice)
    assert twice == entries * 4 and found.ids("image_id") == {e["image_id"] for e in entries}


def test_entries_of_other_kinds_are_refused():
    with pytest.raises(ValueError, match="bbox after entries with bbox, segmentation"):
        CocoResults([entry(0, segmentation=RUNS), entry(1)])


def test_what_is_written_is_json_of_the_same_entries_and_is_read_again(tmp_path):
    entries = [entry(number, segmentation=RUNS) for number in range(3)]
    for kept in (CocoResults(entries), CocoResults()):
        write_predictions(tmp_path / "p.json.gz", kept)
        assert gzip.decompress((tmp_path / "p.json.gz").read_bytes()).decode() == json.dumps(list(kept))
        assert predictions.read(tmp_path / "p.json.gz") == kept


def test_hotcoco_reads_every_digit_of_a_file(tmp_path):
    """Detections of nearly one score must keep their order."""
    rng = np.random.default_rng(0)
    scores = [float(np.nextafter(score, step % 2)) for step, score in enumerate(rng.random(5000))]
    found = [{"image_id": 1, "category_id": 1, "bbox": [1.0, 1.0, 2.0, score], "score": score} for score in scores]
    (tmp_path / "found.json").write_text(json.dumps(found))
    image, category = {"id": 1, "file_name": "", "width": 9, "height": 9}, {"id": 1, "name": "a"}
    truth = COCO({"images": [image], "annotations": [], "categories": [category]})
    assert [(a["score"], a["bbox"][3]) for a in truth.load_res(str(tmp_path / "found.json")).anns.values()] == [
        (score, score) for score in scores
    ]


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_a_list_is_read_item_by_item_however_it_is_cut(block, tmp_path, monkeypatch):
    """What is no list of the usual kind goes to the reader of whole files, which says what is wrong."""
    monkeypatch.setattr(read, "BLOCK", block)
    path = tmp_path / "a.json"
    for value in ([], [1, 22, "ä,]", [3, []], {"a": [4]}, None, 5.25], [{}]):
        for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
            for encoding in ("utf-8", "utf-8-sig", "utf-16"):
                path.write_text(text, encoding=encoding)
                assert list(read.read_json_items(path)) == value == read.read_json(path)
    for text, said in (
        ("[1, 2", "line 1"),
        ("[1 2]", "line 1"),
        ("[1,]", "line 1"),
        ("[1]]", "line 1"),
        ("{}", "dict"),
    ):
        path.write_text(text)
        with pytest.raises(read.UserError, match=said):
            list(read.read_json_items(path))
