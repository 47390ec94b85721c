"""The probes and measures of a row: the exact words of each command, and what waits for what."""

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.command_line import UserError
from runtime.provenance import ROOT
from slurm.planning import commands, validate
from slurm.planning.experiment import Experiment
from slurm.planning.graph import build
from slurm.planning.registry import STAGES

PLAN = Experiment(
    methods=("random", "simclr"),
    seeds=(0, 1),
    recipe="demo",
    protocols=("demo-fpn",),
    benchmarks=("scenes",),
    knn=("scenes",),
    linear=("linear-demo", "linear-moco"),
    finetune=("finetune-demo",),
    semi=("semi-demo",),
    features=("scenes",),
    embedded_data=True,
    settings={
        "data": {"images": "10"},
        "linear": {"cached-features": "true", "epochs": "5"},
        "tsne": {"classes": "4,8"},
    },
)
ROW = "simclr-demo-seed1"


@pytest.fixture(scope="module")
def jobs():
    return {job.name: job for job in build(PLAN, ["pretrain", "transfer"])}


def command(job) -> str:
    return " ".join(job.argv)


def test_a_linear_probe_per_protocol_with_its_switch_and_its_settings(jobs):
    assert command(jobs[f"{ROW}/linear-moco-scenes"]) == (
        f"--protocol linear-moco --weights runs/{ROW}/pretrain/backbone.pth --benchmark scenes "
        f"--data runs/data/scenes/classification --out runs/{ROW}/linear-moco-scenes --seed 1 "
        f"--cached-features epochs=5"
    )
    assert f"{ROW}/linear-demo-scenes" in jobs


def test_a_fine_tuning_per_protocol(jobs):
    words = command(jobs[f"{ROW}/finetune-demo-scenes"])
    assert words.startswith(f"--protocol finetune-demo --weights runs/{ROW}/pretrain/backbone.pth --benchmark scenes")


def test_a_semi_supervised_job_per_fraction(jobs):
    words = command(jobs["random-seed0/semi-1pct-scenes"])
    assert words.startswith("--protocol semi-demo --fraction 1 --weights random --benchmark scenes")
    assert "--fraction 10 " in command(jobs["random-seed0/semi-10pct-scenes"])


def test_features_are_extracted_once_and_measured_one_after_the_other(jobs):
    file = f"runs/{ROW}/features-scenes/features.safetensors"
    assert command(jobs[f"{ROW}/features-scenes"]) == (
        f"--weights runs/{ROW}/pretrain/backbone.pth --data runs/data/scenes/classification/val --benchmark scenes "
        f"--seed 1 --out {file}"
    )
    rank, spectra = (jobs[f"{ROW}/analysis-scenes/{stage}"] for stage in ("effective_rank", "spectra"))
    assert command(rank) == command(spectra) == f"{file} --out runs/{ROW}/analysis-scenes"
    assert rank.needs == (f"{ROW}/features-scenes",) and rank.name in spectra.needs


def test_the_projectors_features_are_those_of_the_checkpoint():
    plan = PLAN.with_overrides({"features": {"layer": "projector"}})
    jobs = {job.name: job for job in build(plan, ["features"])}
    words = command(jobs[f"{ROW}/features-scenes"])
    assert f"--weights runs/{ROW}/pretrain/checkpoint.pth" in words and "--layer projector" in words
    assert "--weights random" in command(jobs["random-seed0/features-scenes"])


def test_the_network_and_the_images_of_a_recipe_count_as_those_of_the_preset_do(tmp_path):
    """The untrained row was a ResNet-50 beside ViTs, and the suite's own images were read instead of the recipe's."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("backbone: {name: vit_mini_patch8}\nfor: {simclr: {data: {root: /mine}}}\n")
    plan = replace(PLAN, recipe=str(recipe), methods=("random", "simclr", "byol"), seeds=(0,))
    jobs = {job.name: job for job in build(plan, ["pretrain", "transfer"])}
    for name in ("knn-scenes", "features-scenes", "demo-fpn-scenes"):
        assert "vit_mini_patch8" in command(jobs[f"random-seed0/{name}"])
    assert "data.root" not in command(jobs["simclr-mine-seed0/pretrain"])
    assert jobs["simclr-mine-seed0/pretrain"].inputs == ()
    assert "data.root=runs/data/scenes/unlabelled" in command(jobs["byol-mine-seed0/pretrain"])
    preset = plan.with_overrides({"pretrain": {"backbone.name": "resnet18"}})
    assert "--network resnet18" in command({job.name: job for job in build(preset, ["knn"])}["random-seed0/knn-scenes"])


def test_one_picture_of_all_rows_of_the_first_seed(jobs):
    picture = jobs["results/tsne-scenes"]
    assert picture.needs == ("random-seed0/features-scenes", "simclr-demo-seed0/features-scenes")
    assert picture.argv[-2:] == ("--classes", "4,8")
    assert picture.outputs == (Path("runs/results/tsne-scenes/tsne.json"),)


def test_curves_over_training_of_all_trained_rows_of_the_first_seed_on_the_images_of_the_features():
    plan = PLAN.with_overrides({"features": {"size": "64", "views": "8"}, "curves": {"per-class": "20"}})
    (job,) = (job for job in build(plan, ["pretrain", "curves"]) if job.stage == "curves")
    assert command(job) == (
        "runs/simclr-demo-seed0 --data runs/data/scenes/classification/val --out runs/results/curves-scenes "
        "--size 64 --per-class 20"
    )
    assert job.needs == ("simclr-demo-seed0/pretrain", "data/scenes")


def test_pretraining_that_keeps_nothing_for_the_curves_is_refused_before_it_begins(tmp_path):
    plan = replace(PLAN, methods=("random", "simclr", "byol"), runs=tmp_path, settings={})
    words = "keeps no checkpoints to measure; set pretrain.log.keep_every=STEPS"
    assert validate.faults_of(plan, ["pretrain", "curves"]) == [f"curves: simclr {words}", f"curves: byol {words}"]
    (tmp_path / "byol-demo-seed0/pretrain/checkpoints").mkdir(parents=True)
    plan = plan.with_overrides({"pretrain@simclr": {"log.keep_every": "5"}})
    assert validate.faults_of(plan, ["pretrain", "curves"]) == []


def test_curves_understand_what_the_graph_tells_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = PLAN.with_overrides({"features": {"size": "64", "resize": "64"}})
    (job,) = (job for job in build(plan, ["pretrain", "curves"]) if job.stage == "curves")
    with pytest.raises(UserError, match="no kept checkpoints at"):
        importlib.import_module(job.module).main(list(job.argv))


@pytest.mark.parametrize("settings", [{}, {"classes": "4,8", "per-class": "20", "method": "umap"}])
def test_the_measures_understand_what_the_graph_tells_them(settings, tmp_path, monkeypatch):
    """Each command as the graph has it gets as far as its first file, which is not there."""
    monkeypatch.chdir(tmp_path)
    plan = replace(PLAN, settings={**PLAN.settings, "tsne": settings})
    measures = [
        job for job in build(plan, ["pretrain", "analysis"]) if job.stage in ("effective_rank", "spectra", "tsne")
    ]
    assert {job.stage for job in measures} == {"effective_rank", "spectra", "tsne"}
    for job in measures:
        with pytest.raises(UserError, match="no features at"):
            importlib.import_module(job.module).main(list(job.argv))


@pytest.mark.parametrize("method", ["simclr", "random"])
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.slow
def test_the_probes_understand_what_the_graph_tells_them(method, told, tmp_path, monkeypatch):
    """Each command as the graph has it gets as far as its first file: a backbone, or without one the images."""
    monkeypatch.chdir(tmp_path)
    knn = {"k": "20,200", "temperature": "0.07,0.1", "size": "64", "resize": "64", "precision": "bf16"}
    training = {"epochs": "5", "lr": "0.1", "milestones": "[3,4]", "schedule": "steps", "precision": "bf16"}
    settings = (
        {"knn": knn, "linear": {"cached-features": "true", **training}, "semi": training, "finetune": {"mixup": "0"}}
        if told
        else {}
    )
    plan = replace(PLAN, methods=(method,), settings=settings, linear=("linear-matrix-ssl", "linear-moco"))
    probes = [
        job for job in build(plan, ["pretrain", "transfer"]) if job.stage in ("knn", "linear", "finetune", "semi")
    ]
    assert len(probes) == 2 * (1 + 2 + 1 + 2), "two seeds; two linear protocols; one of fine-tuning; two fractions"
    missing = r"no checkpoint at .*/pretrain/backbone.pth" if method == "simclr" else r"data/scenes/classification"
    for job in probes:
        with pytest.raises(UserError, match=missing):
            importlib.import_module(job.module).main(list(job.argv))


@pytest.mark.parametrize("stage", ["knn", "linear", "finetune", "semi"])
def test_a_setting_that_no_probe_has_is_noticed(stage):
    """So the test above can fail."""
    with pytest.raises(UserError, match="unknown setting 'epoch'"):
        for job in build(replace(PLAN, settings={stage: {"epoch": "5"}}), ["pretrain", "transfer"]):
            if job.stage == stage:
                commands.command(job.module).parse(list(job.argv))


def test_tables_and_report_come_last_and_nothing_is_asked_for_that_was_not_named(jobs):
    assert list(jobs)[-2:] == ["results", "report"] and jobs["results"].fan_in and "results" in jobs["report"].needs
    bare = Experiment(methods=("simclr",), recipe="demo", protocols=("p",), benchmarks=("b",))
    stages = {job.stage for job in build(bare, ["pretrain", "transfer"])}
    assert stages == {"pretrain", "convert", "transfer", "tables", "report"}


def test_what_a_probe_lacks_is_a_fault():
    odd = Experiment(
        methods=("random",), recipe="demo", protocols=(), benchmarks=(), linear=("linear-x",), features=("cars",)
    )
    faults = validate.faults_of(odd, ["linear", "features"])
    assert any("`classification` or `knn`" in fault for fault in faults)
    assert any(fault.startswith("features: ") and "--data" in fault for fault in faults)
    faults = validate.faults_of(replace(odd, knn=("scenes",)), ["linear"])
    assert any(fault.startswith("linear: ") and "linear-x" in fault for fault in faults)


def test_every_stage_is_a_module_that_is_there_or_stands_for_others():
    for stage in STAGES.values():
        assert (ROOT / f"{stage.module.replace('.', '/')}.py").exists() if stage.module else stage.implies
        assert set(stage.implies) <= STAGES.keys()
