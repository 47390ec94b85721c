"""Presets are files of names that exist; the command line has the last word."""

import pytest

from runtime.command_line import UserError
from slurm.planning import graph, preset, validate


@pytest.mark.parametrize("name", preset.available())
def test_every_preset_names_what_exists(name):
    wanted = preset.load(name)
    if not wanted.draws_its_data:
        wanted = wanted.changed({"pretrain": {"data.root": "/somewhere"}, "features": {"images": "/somewhere"}})
    assert validate.faults_of(wanted, ["pretrain", "transfer"]) == []
    assert wanted.summary and wanted.rows
    assert graph.build(wanted, ["pretrain", "transfer"])


def test_the_command_line_wins_over_the_preset():
    wanted = preset.load("demo", seeds=[0, 1, 2], methods=None)
    assert wanted.seeds == (0, 1, 2) and wanted.methods == ("random", "matrix_ssl")
    changed = wanted.changed({"data": {"images": "100"}, "pretrain": {"resources.hours": "0.5"}})
    assert changed.told("data")["images"] == "100" and changed.resources["pretrain"]["hours"] == 0.5
    assert wanted.told("data")["images"] != "100"


def test_a_preset_of_ones_own_is_a_file_and_is_checked(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("methods: [random]\nrecipe: demo\nprotocols: [demo-fpn]\nbenchmarks: [scenes]\n")
    assert preset.load(str(path)).benchmarks == ("scenes",)
    path.write_text("method: [random]\n")
    with pytest.raises(UserError, match="unknown key in preset mine.yaml 'method'; known: benchmarks, classification"):
        preset.load(str(path))
    path.write_text("methods: [random]\n")
    with pytest.raises(UserError, match="preset mine.yaml lacks recipe, protocols, benchmarks"):
        preset.load(str(path))


def test_overrides_go_to_their_stage_and_keep_equals_signs_and_dots():
    settings, faults = preset.split_overrides(["pretrain.optim.lr=0.5", "transfer.A.B=x=y"], ["pretrain", "transfer"])
    assert settings == {"pretrain": {"optim.lr": "0.5"}, "transfer": {"A.B": "x=y"}} and faults == []
    _, faults = preset.split_overrides(["lr=1", "eval.k=1"], ["pretrain", "transfer"])
    assert faults == [
        "expected STAGE.KEY=VALUE, got 'lr=1'",
        "unknown stage 'eval' in 'eval.k=1'; known: pretrain, transfer",
    ]
