"""A misspelt setting is found before anything is submitted, whichever stage it is for and wherever it stands."""

from pathlib import Path

import pytest

from runtime.command_line import UserError
from slurm import run_all
from slurm.planning import known, preset, validate_settings
from slurm.planning.stages import STAGES

TYPOS = """\
methods: [random, simclr, matrix_ssl]
variants:
  "gamma=2": {method: matrix_ssl, settings: {method.gama: 2}}
recipe: mine.yaml
protocols: [demo-fpn]
benchmarks: [scenes]
knn: [scenes]
linear: [linear-demo]
settings:
  data: {image: 100, size: large}
  pretrain: {optim.lrr: 1}
  pretrain@simclr: {epochs: ten, method.temperature: 0}
  linear: {epoch: 3}
  tsne@simclr: {seed: 3}
  semi: {cached-features: true}
"""
ARGUMENTS = ["knn.neighbours=5", "transfer.SOLVER.BASE_LRR=1", "transfer.sed=3", "linear.cached-features=True"]
ARGUMENTS += ["analysis.size=3", "--dry-run", "--cluster", "local"]


def test_every_typo_of_a_preset_a_recipe_and_the_command_line_is_named_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("typos.yaml").write_text(TYPOS)
    Path("mine.yaml").write_text("epochs: 2\nviews: {sizes: 32}\nfor: {simclr: {optim: {lar: 1}}}\n")
    with pytest.raises(UserError) as error:
        run_all.main(["--stage", "pretrain,transfer,linear", "--preset", "typos.yaml", *ARGUMENTS])
    message = str(error.value)
    for words in (
        "unknown setting of data 'image'; known: images, out, seed, size",
        "data.size is 'large'; expected int",
        "pretrain: unknown setting 'optim.lrr'; known: ",
        "pretrain@simclr: epochs must be a whole number, got 'ten'",
        "pretrain@simclr: method.temperature must be above 0, got 0.0",
        "variant 'gamma=2': unknown setting 'method.gama'; known: ",
        "mine.yaml: unknown setting 'views.sizes'; known: ",
        "mine.yaml (for simclr): unknown setting 'optim.lar'",
        "linear: unknown setting 'epoch'; known: epochs, ",
        "tsne is one job for all rows, and tsne@simclr would be read by nobody",
        "unknown linear.cached-features 'True'; known: false, true",
        "semi: unknown setting 'cached-features'",
        "unknown setting of knn 'neighbours'; known: benchmark, ",
        "unknown setting of transfer 'sed'; known: amp, ",
        "analysis stands for spectra, tsne and takes no settings",
    ):
        assert words in message
    assert message.count("optim.lrr") == 1, "said once for all methods"


def test_a_fraction_that_a_protocol_does_not_have_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lists = "methods: [random]\nprotocols: []\nbenchmarks: []\nknn: [scenes]\nsemi: [semi-demo]\nfractions: [10, 20]\n"
    Path("semi.yaml").write_text(f"recipe: demo\n{lists}")
    with pytest.raises(UserError, match="unknown fraction of semi-demo '20'; known: 1, 10"):
        run_all.main(["--stage", "semi", "--preset", "semi.yaml", "--dry-run", "--cluster", "local"])


def test_what_one_method_knows_and_another_does_not_is_said_of_the_other():
    told = {"pretrain": {"method.gamma": "1"}}
    wanted = preset.load("demo", methods=["matrix_ssl", "simclr"]).changed(told)
    (fault,) = validate_settings.faults_of(wanted, ["pretrain"], STAGES)
    assert fault.startswith("pretrain of simclr: unknown setting 'method.gamma'; known: method.temperature")


def test_a_setting_of_detectron2_is_known_by_its_neighbours_and_unknown_where_that_is_not_installed(monkeypatch):
    wanted = preset.load("demo").changed({"transfer": {"SOLVER.BASE_LRR": "1", "SOLVER.BASE_LR": "1"}})
    theirs = frozenset({"SOLVER.BASE_LR", "SOLVER.STEPS", "SEED"})
    monkeypatch.setattr(known, "detection_settings", lambda: theirs)
    words = "unknown setting of transfer 'SOLVER.BASE_LRR'; known: SOLVER.BASE_LR, SOLVER.STEPS"
    assert validate_settings.faults_of(wanted, ["transfer"], STAGES) == [words]
    monkeypatch.setattr(known, "detection_settings", frozenset)
    assert validate_settings.faults_of(wanted, ["transfer"], STAGES) == []


@pytest.mark.parametrize("name", preset.available())
def test_a_preset_of_ours_has_none(name):
    assert validate_settings.faults_of(preset.load(name), list(STAGES), STAGES) == []
