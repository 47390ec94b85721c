"""What is written as a result comes back as the same records, and nothing else passes."""

import json

import pytest

from runtime import results

COMMON = {
    "method": "matrix_ssl",
    "recipe": "demo",
    "epochs": 8,
    "benchmark": "scenes",
    "protocol": "demo-fpn",
    "seed": 0,
    "commit": "0123456789ab",
    "weights_sha256": "ab" * 32,
    "n": 400,
}


def test_records_survive_the_file(tmp_path):
    metrics = {"bbox": {"AP": 41.0, "AP50": 60.8, "APl": None}, "segm": {"AP": 35.6, "AP-disk": 0.0}}
    records = results.flatten(metrics, **COMMON)
    assert [(r.task, r.metric, r.value) for r in records] == [
        ("bbox", "AP", 41.0),
        ("bbox", "AP50", 60.8),
        ("segm", "AP", 35.6),
        ("segm", "AP-disk", 0.0),
    ]
    results.write(tmp_path / "result.json", records, wall_s=1.5)
    assert results.read(tmp_path / "result.json") == records
    assert json.loads((tmp_path / "result.json").read_text())["wall_s"] == 1.5
    assert records[0].source == "measured"


@pytest.mark.parametrize("value", [float("nan"), -1.0, 100.1])
def test_what_is_no_percentage_is_not_written(tmp_path, value):
    with pytest.raises(ValueError, match="not a percentage"):
        results.write(tmp_path / "r.json", [results.Record(task="bbox", metric="AP", value=value, **COMMON)])


def test_a_measure_of_a_representation_may_be_any_finite_number():
    common = COMMON | {"task": "representation", "variant": "gamma=0.3"}
    assert results.Record(metric="rankme", value=512.3, **common).value == 512.3
    with pytest.raises(ValueError, match="inf, not a finite number"):
        results.Record(metric="rankme", value=float("inf"), **common)


BAD_FILES = ["", "[]", "{}", "[" * 100_000, '{"records": {}}', '{"records": [1]}', '{"records": [{"method": "x"}]}']


@pytest.mark.parametrize("text", [*BAD_FILES, '{"records": [{"extra": 1}]}'], ids=lambda text: text[:20])
def test_a_damaged_result_is_named_with_the_remedy(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(results.DamagedResult, match=r"result.json .*; delete it and run the same command again"):
        results.read(tmp_path / "result.json")
    assert results.context(tmp_path / "result.json") == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "0"}, "seed is '0', expected a whole number"),
        ({"n": None}, "n is None, expected a whole number"),
        ({"n": 0}, "n is 0, expected 1 to"),
        ({"n": 10**400}, "n is 10000.*, expected 1 to"),
        ({"epochs": -1}, "epochs is -1, expected 0 to"),
        ({"method": None}, "method is None, expected a text"),
        ({"method": "m" * 5000}, "expected a text of at most 1000 characters"),
        ({"metric": ["AP"]}, r"metric is \['AP'\], expected a text"),
        ({"task": "boxes"}, "task is 'boxes', expected one of bbox"),
        ({"value": True}, "value is True, expected a number"),
        ({"value": 10**400}, "record 1: int too large"),
        ({"value": float("nan")}, "record 1: bbox AP is nan, not a percentage"),
    ],
)
def test_a_value_of_another_type_is_named(tmp_path, changes, message):
    entry = {**COMMON, "task": "bbox", "metric": "AP", "value": 40, **changes}
    (tmp_path / "result.json").write_text(json.dumps({"records": [entry]}))
    with pytest.raises(results.DamagedResult, match=message):
        results.read(tmp_path / "result.json")


@pytest.mark.parametrize("context", [{"protocol_version": "2"}, {"scale": 1.5}, {"changed_from_protocol": [1]}])
def test_context_of_another_type_is_named(tmp_path, context):
    results.write(tmp_path / "result.json", [], **context)
    with pytest.raises(results.DamagedResult, match=f"{next(iter(context))} is .*, expected"):
        results.read_result(tmp_path / "result.json")


def test_a_missing_result_is_no_damaged_one(tmp_path):
    with pytest.raises(results.NoResult, match="does not exist"):
        results.read(tmp_path / "result.json")
    (tmp_path / "result.json").mkdir()
    with pytest.raises(results.DamagedResult, match="is no file"):
        results.read(tmp_path / "result.json")
