"""Each command checks the command lines of its jobs: a misspelt setting is found before anything is submitted."""

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.command_line import UserError
from slurm import run_all
from slurm.planning import commands, presets, validate
from slurm.planning.registry import STAGES

MODULES = sorted({stage.module for stage in STAGES.values() if stage.module})

TYPOS = """\
methods: [random, simclr, matrix_ssl]
variants:
  "gamma=2": {method: matrix_ssl, settings: {method.gama: 2}}
recipe: mine.yaml
protocols: [demo-fpn]
benchmarks: [scenes]
knn: [scenes]
linear: [linear-demo]
semi: [semi-demo]
fractions: [10, 20]
features: [scenes]
embedded_data: true
settings:
  data: {image: 100, size: large}
  pretrain: {optim.lrr: 1}
  pretrain@simclr: {epochs: ten, method.temperature: 0}
  linear: {epoch: 3, cached-features: maybe}
  semi: {cached-features: true}
"""
ARGUMENTS = ["knn.neighbours=5", "transfer.SOLVER.BASE_LRR=1", "transfer.sed=3", "knn.out=x", "--dry-run"]

EXPECTED = {
    "pretrain.scenes": [
        ("data.image=100", "unknown setting 'image'; known: "),
        ("data.size=large", "'large'"),
    ],
    "pretrain.train": [
        ("pretrain.optim.lrr=1", "unknown setting 'optim.lrr'; known: "),
        ("pretrain@simclr.epochs=ten", "whole number"),
        ("pretrain@simclr.method.temperature=0", "above 0"),
        ("variant 'gamma=2'", "'method.gama'"),
        ("pretrain", "'views.sizes'"),
        ("pretrain", "'optim.lar'"),
    ],
    "transfer.linear": [
        ("linear.epoch=3", "'epoch'"),
        ("linear.cached-features=maybe", "expected true or false"),
    ],
    "transfer.semi": [
        ("semi.cached-features=true", "cached-features"),
        ("semi", "20"),
    ],
    "transfer.knn": [
        ("knn.neighbours=5", "unknown setting 'neighbours'"),
        ("knn.out=x", "given by the graph"),
    ],
    "transfer.train": [
        ("transfer.SOLVER.BASE_LRR=1", "SOLVER.BASE_LRR"),
        ("transfer.sed=3", "sed"),
    ],
}


def test_every_typo_of_a_preset_a_recipe_and_the_command_line_is_named_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("typos.yaml").write_text(TYPOS)
    Path("mine.yaml").write_text("epochs: 2\nviews: {sizes: 32}\nfor: {simclr: {optim: {lar: 1}}}\n")
    words = ["--stage", "pretrain,transfer,linear", "--preset", "typos.yaml", "--cluster", "local", *ARGUMENTS]
    with pytest.raises(UserError) as error:
        run_all.main(words)
    faults = error.value.faults
    for expected in EXPECTED.values():
        for source, words in expected:
            assert any(fault.startswith(source) and words in fault for fault in faults), (source, words, faults)
    assert not any("\n" in fault for fault in faults)
    assert sum("optim.lrr" in fault for fault in faults) == 1, "one line for all methods"


def test_settings_that_no_job_would_read_are_named():
    wanted = presets.experiment(presets.load("demo")).with_overrides(
        {"tsne@simclr": {"seed": "3"}, "analysis": {"size": "3"}, "pretrain@byol": {"a": "1"}, "pretrian": {"a": "1"}}
    )
    faults = validate.faults_of(wanted, ["pretrain"])
    for words in (
        "tsne is one job for all rows",
        "analysis stands for spectra, tsne",
        "unknown row in settings 'byol'",
        "unknown stage in settings 'pretrian'",
    ):
        assert sum(words in fault for fault in faults) == 1, faults


def test_what_one_method_knows_and_another_does_not_is_named():
    wanted = presets.experiment(presets.load("demo"), methods=["matrix_ssl", "simclr"])
    faults = validate.faults_of(wanted.with_overrides({"pretrain": {"method.gamma": "1"}}), ["pretrain"])
    assert len(faults) == 1 and "unknown setting 'method.gamma'" in faults[0] and "method.temperature" in faults[0]


@pytest.mark.parametrize("name", ["../../../x", "x\ny", "", "-x", ".x", "a%j", "a/b", "é" * 41])
def test_a_name_that_cannot_be_a_folder_is_refused(name):
    wanted = presets.experiment(presets.load("demo"), benchmarks=[name])
    assert any("cannot name a folder" in fault for fault in validate.faults_of(wanted, ["transfer"]))
    wanted = presets.experiment(presets.load("demo"), recipe=f"{name or '.'}.yaml")
    if name != "a/b" and name != "../../../x":  # the folder of a recipe is no part of the row's name
        assert any("cannot name a folder" in fault for fault in validate.faults_of(wanted, ["transfer"]))


def test_a_flag_of_a_command_is_a_setting_of_its_stage():
    assert commands.arguments("flagged", {"twice": "true", "name": "-x"}) == ["--twice", "--name=-x"]
    assert commands.arguments("flagged", {"twice": "false", "lr": "3"}) == ["lr=3"]
    with pytest.raises(UserError, match="expected true or false, got 'maybe'"):
        commands.arguments("flagged", {"twice": "maybe"})


@pytest.fixture(autouse=True)
def flagged(tmp_path, monkeypatch):
    """The module of a command with a flag, an option and KEY=VALUE."""
    text = "from runtime.command_line import Parser\n\n\ndef parser():\n    made = Parser()\n"
    for words in ('"--twice", action="store_true"', '"--name"', '"settings", nargs="*"'):
        text += f"    made.add_argument({words})\n"
    (tmp_path / "flagged.py").write_text(text + "    return made\n\n\ndef parse(argv):\n    return parser()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for cached in (commands.command, commands.options, commands.takes_pairs, commands.shown_options):
        cached.cache_clear()
    sys.modules.pop("flagged", None)


def test_neither_the_submission_nor_a_command_imports_torch():
    code = "import importlib, sys; import slurm.run_all; from slurm.planning import commands\n"
    code += f"for module in {MODULES}: commands.command(module)\n"
    code += "assert not {'torch', 'submitit', 'detectron2', 'torchvision', 'scipy'} & set(sys.modules), 'heavy'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_the_help_of_a_command_fits_one_screen_before_its_settings(module):
    text = commands.command(module).parser().format_help().partition("\nsettings (")[0]
    assert len(text.splitlines()) <= 60, text
