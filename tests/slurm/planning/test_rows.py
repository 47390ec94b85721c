"""Rows that differ from a method's recipe: named in a preset, told to pretraining, and safe as folders."""

import pytest

from runtime.command_line import UserError
from slurm.planning import graph, presets, validate

PRESET = """\
methods: [random, simclr]
variants:
  "gamma=0.3": {method: matrix_ssl, settings: {method.gamma: 0.3}}
  no predictor/teacher: {method: matrix_ssl, settings: {method.teacher_momentum: 0}}
seeds: [0, 1]
recipe: demo
protocols: [demo-fpn]
benchmarks: [scenes]
settings:
  data: {images: 100}
  pretrain: {epochs: 3}
  pretrain@simclr: {epochs: 5}
"""


@pytest.fixture
def preset_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(PRESET)
    return path


def load(path, **changes):
    return presets.experiment(presets.load(str(path)), **changes)


def jobs_of(path, **changes):
    return {job.name: job for job in graph.build(load(path, **changes), ["pretrain", "transfer"])}


def test_a_variant_is_a_row_with_its_settings_and_its_name(preset_file):
    jobs = jobs_of(preset_file)
    words = jobs["matrix_ssl+gamma=0.3-demo-seed1/pretrain"].argv
    assert words[:2] == ("--method", "matrix_ssl")
    assert {"method.gamma=0.3", "variant=gamma=0.3", "seed=1", "epochs=3"} <= set(words)
    assert "matrix_ssl+no-predictor-teacher-demo-seed0/demo-fpn-scenes" in jobs, (
        "a folder name that a shell leaves alone"
    )
    assert not any("variant=" in word for word in jobs["simclr-demo-seed0/pretrain"].argv)


def test_settings_of_one_method_go_before_those_of_all(preset_file):
    jobs = jobs_of(preset_file)
    assert "epochs=5" in jobs["simclr-demo-seed0/pretrain"].argv
    assert "epochs=3" in jobs["matrix_ssl+gamma=0.3-demo-seed0/pretrain"].argv


def test_methods_on_the_command_line_choose_among_variants_too(preset_file):
    rows = load(preset_file, methods=["gamma=0.3", "random"], seeds=[4]).rows
    assert [(row.label, row.seed) for row in rows] == [("random", 4), ("matrix_ssl+gamma=0.3", 4)]


def test_a_name_that_is_neither_method_nor_variant_lists_both(preset_file):
    from slurm import run_all

    with pytest.raises(
        UserError, match="unknown method 'gamma=3'; known: .*gamma=0.3.*matrix_ssl.*no predictor/teacher"
    ):
        run_all.main(
            ["--stage", "pretrain", "--preset", str(preset_file), "--methods", "gamma=3", "--cluster", "local"]
        )


@pytest.mark.parametrize(
    "entry, words",
    [
        ("{settings: {a: 1}}", "variants.odd.method is not given"),
        ("{method: matrix_ssl, settings: {}}", "changes no setting"),
        ("{method: random, settings: {a: 1}}", "no pretraining to vary"),
        ("{method: matrix_ssl, recipe: demo, settings: {a: 1}}", "unknown setting 'variants.odd.recipe'"),
    ],
)
def test_a_variant_that_is_none_is_named(tmp_path, entry, words):
    path = tmp_path / "mine.yaml"
    path.write_text(f"variants: {{odd: {entry}}}\nrecipe: demo\nprotocols: []\nbenchmarks: []\n")
    with pytest.raises(UserError, match=words):
        load(path)


def test_two_variants_never_share_a_folder(tmp_path):
    path = tmp_path / "mine.yaml"
    entry = "{method: mec, settings: {a: 1}}"
    path.write_text(f'variants: {{"a b": {entry}, "a/b": {entry}}}\nrecipe: demo\nprotocols: []\nbenchmarks: []\n')
    with pytest.raises(UserError, match="share the folder name a-b"):
        load(path)


def test_seeds_methods_and_benchmarks_named_twice_are_refused(preset_file):
    twice = load(preset_file, seeds=[1, 1], methods=["simclr", "simclr"])
    faults = validate.faults_of(twice, ["pretrain"])
    assert "seeds given twice: 1, 1" in faults and "methods given twice: simclr, simclr" in faults
    with pytest.raises(UserError, match="two jobs would be called random-seed0/demo-fpn-scenes"):
        jobs_of(preset_file, benchmarks=["scenes", "scenes"])


def test_settings_for_nobody_are_faults(preset_file):
    odd = load(preset_file).with_overrides({"pretrain@byol": {"a": "1"}, "pretrian": {"a": "1"}})
    faults = " ".join(validate.faults_of(odd, ["pretrain"]))
    assert "unknown row in settings 'byol'" in faults and "unknown stage in settings 'pretrian'" in faults


def test_no_setting_makes_one_run_of_several_rows(preset_file):
    """With `pretrain.seed=5` three seeds were the same run three times: 20.0 ± 0.0."""
    text = preset_file.read_text().replace("method.gamma: 0.3", "method.gamma: 0.3, seed: 7")
    preset_file.write_text(text)
    odd = load(preset_file).with_overrides({"pretrain": {"seed": "5"}, "pretrain@simclr": {"variant": "gamma=0.3"}})
    faults = validate.faults_of(odd.with_overrides({"data": {"seed": "1"}}), ["pretrain"])
    assert [fault.partition(":")[0] for fault in faults if "every row has its own" in fault] == [
        "variant 'gamma=0.3' .seed=7",
        "pretrain.seed=5",
        "pretrain@simclr.variant=gamma=0.3",
    ]
    assert len(faults) == 3
