"""Rank against AP: which records meet in a point, and the figure of them."""

import json
from pathlib import Path

import pytest

from analysis import rank_against_ap
from analysis.figures import rank_against_ap as figure
from analysis.results_table.measurements import Measurement
from runtime.results import write


@pytest.fixture
def backbones(record):
    """``backbones({"byol": (rank, AP)}, seed=0)``: records of an intra-class rank and a box AP on COCO each."""

    def make(values, **more):
        made = []
        for method, (rank, score) in values.items():
            kind = {"protocol": "features-backbone", "task": "representation", "metric": "rank-intra-cov"}
            made += [record(method, rank, **kind, **more), record(method, score, **more)]
        return made

    return make


def panels(records):
    return figure.panels([Measurement(entry, Path("result.json")) for entry in records])


def test_a_point_is_the_mean_over_the_seeds_that_have_both_numbers(backbones, record):
    records = backbones({"byol": (10.0, 40.0)}) + backbones({"byol": (14.0, 42.0)}, seed=1)
    records += [record("byol", 90.0, seed=2)]  # without a rank
    [panel] = panels(records)
    [point] = panel.points
    assert (point.rank, point.score, point.seeds) == (12.0, 41.0, (0, 1))
    assert panel.verdict == "too few rows (n = 1)"


def test_other_lengths_of_a_run_are_points_of_their_own(backbones):
    records = backbones({"byol": (10.0, 40.0)}) + backbones({"byol": (12.0, 41.0)}, epochs=100)
    [panel] = panels(records)
    assert [point.label for point in panel.points] == ["BYOL, 8 epochs", "BYOL, 100 epochs"]


def test_other_networks_are_points_of_their_own(backbones):
    records = backbones({"byol": (10.0, 40.0)}) + backbones({"byol": (12.0, 41.0)}, backbone="resnet18")
    [panel] = panels(records)
    assert [(point.label, point.rank) for point in panel.points] == [
        ("BYOL, 8 epochs", 10.0),
        ("BYOL, resnet18, 8 epochs", 12.0),
    ]


def test_kept_checkpoints_are_points_beside_the_last_one(backbones):
    records = backbones({"byol": (10.0, 40.0)}) + backbones({"byol": (6.0, 30.0)}, variant="step=64")
    records += backbones({"byol": (8.0, 35.0)}, variant="step=128")
    [panel] = panels(records)
    assert [(point.label, point.rank) for point in panel.points] == [
        ("BYOL, 8 epochs", 10.0),
        ("BYOL (step=64), 8 epochs", 6.0),
        ("BYOL (step=128), 8 epochs", 8.0),
    ]
    assert panel.verdict.startswith("Spearman +1.00")


def test_two_protocols_never_share_a_panel(backbones, record):
    records = backbones({"byol": (10.0, 40.0)}) + [record("byol", 39.0, protocol="moco-fpn-1x")]
    assert [panel.score for panel in panels(records)] == [
        "box AP (coco_2017, moco-c4-1x)",
        "box AP (coco_2017, moco-fpn-1x)",
    ]


def test_three_rows_are_enough_to_say_how_they_are_ordered(backbones):
    [panel] = panels(backbones({"byol": (10.0, 40.0), "mec": (12.0, 41.0), "simsiam": (14.0, 42.0)}))
    assert panel.verdict == "Spearman +1.00 (p = 0.33), Kendall +1.00 (p = 0.33), n = 3"


def test_the_command_writes_the_figure_and_its_numbers(backbones, tmp_path, capsys):
    write(tmp_path / "a" / "result.json", backbones({"byol": (10.0, 40.0), "mec": (12.0, 41.0), "vicreg": (9.0, 42.0)}))
    rank_against_ap.main([str(tmp_path), "--out", str(tmp_path / "figure")])
    stem = tmp_path / "figure" / "rank-against-ap"
    [panel] = json.loads(stem.with_suffix(".json").read_text())
    assert [point["score"] for point in panel["points"]] == [40.0, 41.0, 42.0]
    assert "Spearman -0.50" in capsys.readouterr().out and "Spearman -0.50" in stem.with_suffix(".svg").read_text()
    assert stem.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_without_ranks_is_one_line(record, refused, tmp_path):
    write(tmp_path / "a" / "result.json", [record()])
    line = refused("analysis/rank_against_ap.py", tmp_path, "--out", tmp_path / "figure")
    assert "has both a rank and a score" in line and "effective_rank" in line
