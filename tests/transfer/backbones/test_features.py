"""Probes and features of every family: which features, by name, in the result and in the table."""

import json

import pytest

from analysis import features
from analysis.results_table import build_tables, measurements
from runtime.command_line import UserError
from runtime.results import read_result
from transfer import knn, linear

VIT = ["--network", "vit_mini_patch8"]


def test_a_vit_from_scratch_is_probed_by_the_features_named(scenes, tmp_path):
    words = ["--benchmark", "scenes", "--data", str(scenes), "--weights", "random", "--size", "32", "--resize", "32"]
    words += ["--workers", "0", "--precision", "fp32"]
    for number, more in enumerate(([], VIT, [*VIT, "--features", "class-token+patches"])):
        knn.main([*words, *more, "--out", str(tmp_path / f"r{number}")])
    found = [read_result(tmp_path / f"r{number}" / "result.json") for number in range(3)]
    assert [one.records[0].backbone for one in found] == ["resnet50", "vit_mini_patch8", "vit_mini_patch8"]
    assert [one.records[0].protocol for one in found] == ["knn-20", "knn-20", "knn-20-class-token+patches"]
    with pytest.raises(UserError, match="resnet50 has no features patches; it has: pooled"):
        knn.main([*words, "--features", "patches", "--out", str(tmp_path / "no")])

    table = build_tables.build_tables(measurements.collect(tmp_path).measurements, [])[0]
    assert table.row_heads == ["method", "backbone", "recipe", "epochs"]
    assert [table.row_labels(row)[:2] for row in table.rows] == [
        ["random init", "resnet50"],
        ["random init", "vit_mini_patch8"],
    ]


def test_a_classifier_sees_the_last_class_tokens(scenes, tmp_path):
    words = ["--protocol", "linear-demo", "--benchmark", "scenes", "--data", str(scenes), "--weights", "random"]
    words += ["--out", str(tmp_path / "run"), "epochs=1", "batch_size=8", "size=32", "resize=32", "workers=0"]
    assert linear.main([*words, "network=vit_mini_patch8", "features=last-4-class-tokens"]) == 0
    content = json.loads((tmp_path / "run" / "result.json").read_text())
    assert content["features_of"] == "last-4-class-tokens"
    assert content["changed_from_protocol"]["features"] == "last-4-class-tokens"
    assert content["records"][0]["backbone"] == "vit_mini_patch8"


def test_features_of_patches_are_another_layer(scenes, tmp_path):
    words = ["--weights", "random", "--data", str(scenes / "classification/val"), "--size", "32", "--resize", "32"]
    words += ["--workers", "0", *VIT]
    from analysis.extraction import feature_file

    for kind in ("class-token", "patches"):
        features.main([*words, "--features", kind, "--out", str(tmp_path / f"{kind}.safetensors")])
    found = [feature_file.read(tmp_path / f"{kind}.safetensors").about for kind in ("class-token", "patches")]
    assert [one["layer"] for one in found] == ["backbone-class-token", "backbone-patches"]
    assert found[0]["backbone"] == "vit_mini_patch8"
    with pytest.raises(UserError, match="unknown features 'token'; known"):
        features.parse([*words, "--features", "token", "--out", "x"])
    with pytest.raises(UserError, match="images of 30 pixels are no multiple of its patch of 8; 32 would be"):
        features.parse([*words, "--size", "30", "--out", "x"])
