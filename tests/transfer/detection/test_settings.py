"""Settings of a fine-tuning run are checked without Detectron2, by a list that is Detectron2's own."""

import pytest

from runtime.command_line import UserError
from transfer import train
from transfer.detection import protocol, run_config, settings

WORDS = ["--protocol", "demo-fpn", "--benchmark", "scenes", "--weights", "random", "--out", "x"]


def test_the_listed_settings_are_those_of_the_installed_detectron2():
    def plain(value):
        return [plain(entry) for entry in value] if isinstance(value, list | tuple) else value

    real = {key: plain(value) for key, value in run_config.flatten(run_config.default_config()).items()}
    ours = {"MODEL.DEVICE": "auto", "MODEL.WEIGHTS": ""}
    listed = settings.defaults() | ours
    assert listed == real
    assert {key: type(value) for key, value in listed.items()} == {key: type(value) for key, value in real.items()}


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["SOLVER.BASE_LR=1"], "SOLVER.BASE_LR", 1.0),
        (["SOLVER.BASE_LR", "4e-2"], "SOLVER.BASE_LR", 0.04),
        (["SOLVER.STEPS=[]"], "SOLVER.STEPS", ()),
        (["SOLVER.STEPS=3,4"], "SOLVER.STEPS", (3, 4)),
        (["SOLVER.AMP.ENABLED=off"], "SOLVER.AMP.ENABLED", False),
        (["MODEL.RESNETS.NORM=007 #1"], "MODEL.RESNETS.NORM", "007 #1"),
        (["MODEL.RESNETS.NORM", ""], "MODEL.RESNETS.NORM", ""),
        (["SOLVER.WEIGHT_DECAY_BIAS=0.1"], "SOLVER.WEIGHT_DECAY_BIAS", 0.1),
        (["SOLVER.WEIGHT_DECAY_BIAS=None"], "SOLVER.WEIGHT_DECAY_BIAS", None),
    ],
)
def test_the_type_of_a_setting_decides_how_its_text_is_read(words, key, value):
    found = run_config.flatten(run_config.load("demo-fpn", settings.parse(words)))[key]
    assert (found, type(found)) == (value, type(value))


def test_all_faults_are_named_at_once():
    wrong = "SOLVER.LR=3 SEED=1 SOLVER.STEPS=[a] SOLVER.MAX_ITER=1:30 SOLVER.BASE_LR=nan TRANSFER.TRIALS=0 SOLVER.GAMMA"
    with pytest.raises(UserError) as caught:
        train.parse([*WORDS, *wrong.split(), "--scale", "3", "--seeds", "1,1"])
    text = str(caught.value)
    keys = ("SOLVER.LR", "SEED is decided by --seed", "SOLVER.STEPS", "SOLVER.MAX_ITER", "BASE_LR", "TRIALS", "GAMMA")
    assert all(key in text for key in (*keys, "--scale 3", "--seeds: 1 is given twice")), text


@pytest.mark.parametrize("key", settings.LIMITS)
def test_a_number_that_no_run_can_have_is_one_line(key):
    least = int(settings.LIMITS[key]["limit"].least)
    with pytest.raises(UserError, match=f"{key} must be .*, got {least - 1}"):
        settings.parse([f"{key}={least - 1}"])
    assert settings.parse([f"{key}={least}"]) == {key: least}


@pytest.mark.parametrize("base", ["../../secret.yaml", "/etc/passwd", "mine.yaml", "https://x.org/a.yaml"])
def test_a_base_outside_the_folder_or_the_file_itself_is_refused(tmp_path, monkeypatch, base):
    (tmp_path / "mine.yaml").write_text(f"_BASE_: {base}\n")
    monkeypatch.setattr(protocol, "FOLDER", tmp_path)
    with pytest.raises(UserError, match="_BASE_"):
        protocol.read("mine")


@pytest.mark.parametrize(
    "text", ["SOLVER: !!python/object/apply:os.system [id]", "SOLVER: {LR: 1}", "[1]", "SOLVER: 3"]
)
def test_a_yaml_that_runs_code_or_sets_the_unknown_is_one_line(tmp_path, monkeypatch, text):
    (tmp_path / "mine.yaml").write_text(text)
    monkeypatch.setattr(protocol, "FOLDER", tmp_path)
    with pytest.raises(UserError, match=r"mine\.yaml"):
        protocol.read("mine")
