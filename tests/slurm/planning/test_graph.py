"""The graph is a pure function of a plan: what is printed of it says all there is."""

from dataclasses import replace
from pathlib import Path

import pytest

from runtime.command_line import UserError
from slurm.planning import graph
from slurm.planning.experiment import Experiment
from slurm.submitting import cluster
from slurm.watching.summary import dry_run

PLAN = Experiment(
    methods=("random", "matrix_ssl"),
    recipe="demo",
    protocols=("demo-fpn",),
    benchmarks=("scenes",),
    knn=("scenes",),
    embedded_data=True,
    settings={"data": {"images": "2000"}, "pretrain": {"optim.lr": "0.5"}, "transfer": {"SOLVER.BASE_LR": "0.04"}},
    resources={"pretrain": {"gpus": 0}, "transfer": {"gpus": 2}},
)

GOLDEN = """\
9 jobs on slurm, 0 done already: random, matrix_ssl x seed 0

[1/9] data/scenes (no GPU, 4 cores, 8 GB, 1 h)
    python -m pretrain.scenes --out runs/data/scenes --images 2000

[2/9] random-seed0/demo-fpn-scenes (2 GPUs, 2 x 6 cores, 48 GB, 24 h; after data/scenes)
    python -m transfer.train --protocol demo-fpn --benchmark scenes --weights random \
--out runs/random-seed0/demo-fpn-scenes --seed 0 --data runs/data/scenes SOLVER.BASE_LR=0.04

[3/9] random-seed0/knn-scenes (no GPU, 4 cores, 8 GB, 1 h; after data/scenes)
    python -m transfer.knn --weights random --benchmark scenes --data runs/data/scenes/classification \
--out runs/random-seed0/knn-scenes --seed 0

[4/9] matrix_ssl-demo-seed0/pretrain (no GPU, 10 cores, 32 GB, 24 h; after data/scenes)
    python -m pretrain.train --method matrix_ssl --recipe demo --out runs/matrix_ssl-demo-seed0/pretrain \
data.root=runs/data/scenes/unlabelled seed=0 optim.lr=0.5

[5/9] matrix_ssl-demo-seed0/convert (no GPU, 4 cores, 8 GB, 1 h; after matrix_ssl-demo-seed0/pretrain)
    python -m transfer.convert runs/matrix_ssl-demo-seed0/pretrain/backbone.pth \
runs/matrix_ssl-demo-seed0/convert/backbone.pkl

[6/9] matrix_ssl-demo-seed0/demo-fpn-scenes (2 GPUs, 2 x 6 cores, 48 GB, 24 h; \
after matrix_ssl-demo-seed0/convert, data/scenes)
    python -m transfer.train --protocol demo-fpn --benchmark scenes \
--weights runs/matrix_ssl-demo-seed0/convert/backbone.pkl --out runs/matrix_ssl-demo-seed0/demo-fpn-scenes \
--seed 0 --data runs/data/scenes SOLVER.BASE_LR=0.04

[7/9] matrix_ssl-demo-seed0/knn-scenes (no GPU, 4 cores, 8 GB, 1 h; \
after matrix_ssl-demo-seed0/pretrain, data/scenes)
    python -m transfer.knn --weights runs/matrix_ssl-demo-seed0/pretrain/backbone.pth --benchmark scenes \
--data runs/data/scenes/classification --out runs/matrix_ssl-demo-seed0/knn-scenes --seed 0

[8/9] results (no GPU, 1 core, 8 GB, 1 h; when all others have ended)
    python -m analysis.tables runs

[9/9] report (no GPU, 1 core, 8 GB, 1 h; when all others have ended)
    python -m analysis.report runs --out runs/report.html

asks for 96 GPU-hours (transfer 96), once up to the time limit of each job"""


def test_the_demo_is_these_commands_in_this_order():
    jobs = graph.build(PLAN, ["pretrain", "transfer"])
    assert dry_run(PLAN, jobs, cluster=cluster.load("slurm"), done=set()) == GOLDEN


def test_what_is_done_is_said_and_no_longer_waited_for():
    jobs = graph.build(PLAN, ["pretrain"])
    text = dry_run(PLAN, jobs, cluster=cluster.load("local"), done={"data/scenes"})
    assert "[1/2] data/scenes (done already)" in text and "[2/2] matrix_ssl-demo-seed0/pretrain (no GPU)" in text


def test_every_job_comes_after_what_it_needs_and_a_name_is_used_once():
    plan = PLAN.with_overrides({"data": {"seed": "3"}})
    jobs = graph.build(plan, ["pretrain", "transfer"])
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    assert all(names.index(need) < names.index(job.name) for job in jobs for need in job.needs)


def test_a_method_that_learns_from_labels_gets_the_images_that_have_them():
    plan = replace(PLAN, methods=("supervised", "simsiam"))
    roots = {job.row: job.command.partition("data.root=")[2] for job in graph.build(plan, ["pretrain"]) if job.row}
    assert roots["supervised-demo-seed0"].startswith("runs/data/scenes/classification/train")
    assert roots["simsiam-demo-seed0"].startswith("runs/data/scenes/unlabelled")


def test_real_data_draws_no_scenes():
    own = Experiment(
        methods=("matrix_ssl",), recipe="r", protocols=("moco-c4-1x",), benchmarks=("coco_2017",), seeds=(0, 1)
    )
    own = own.with_overrides({"pretrain": {"data.root": "/imagenet"}})
    stages = [job.stage for job in graph.build(own, ["pretrain", "transfer"])]
    assert stages == ["pretrain", "convert", "transfer", "pretrain", "convert", "transfer", "tables", "report"]


def test_pretrain_alone_draws_its_data_and_makes_no_table():
    assert [job.stage for job in graph.build(PLAN, ["pretrain"])] == ["data", "pretrain"]


def test_transfer_without_pretrain_says_which_file_is_missing(tmp_path):
    plan = Experiment(**{**vars(PLAN), "runs": tmp_path})
    faults = graph.missing_inputs(graph.build(plan, ["transfer"]))
    assert any("matrix_ssl-demo-seed0/pretrain/backbone.pth, which does not exist" in fault for fault in faults)
    assert graph.missing_inputs(graph.build(plan, ["pretrain", "transfer"])) == []


def test_a_failed_pretraining_takes_its_row_with_it_but_no_other_row_and_not_the_table():
    jobs = graph.build(PLAN, ["pretrain", "transfer"])
    row = "matrix_ssl-demo-seed0"
    lost = graph.descendants(jobs, f"{row}/pretrain")
    assert lost == [f"{row}/convert", f"{row}/demo-fpn-scenes", f"{row}/knn-scenes"], "the table takes what there is"


@pytest.mark.parametrize("key, value", [("gpu", "1"), ("gpus", "two"), ("cpus", "0")])
def test_resources_are_known_and_positive(key, value):
    with pytest.raises(UserError, match=f"resource.*{key}"):
        graph.build(PLAN.with_overrides({"pretrain": {f"resources.{key}": value}}), ["pretrain"])


def test_a_recipe_file_names_the_row_by_its_stem():
    plan = Experiment(**{**vars(PLAN), "recipe": str(Path("my") / "short.yaml")})
    assert any(job.name == "matrix_ssl-short-seed0/pretrain" for job in graph.build(plan, ["pretrain"]))


def test_voc_is_fine_tuned_with_five_seeds_of_its_own_for_every_pretrained_row():
    """As in its literature: one backbone, five detectors. No two of them share a seed, so a table averages them all."""
    plan = Experiment(
        methods=("simclr",), seeds=(0, 1), recipe="demo", protocols=("voc-24k",), benchmarks=("voc_2007_2012",)
    )
    jobs = [job for job in graph.build(plan, ["pretrain", "transfer"]) if job.stage == "transfer"]
    assert [job.argv[job.argv.index("--seed") + 1] for job in jobs] == [str(seed) for seed in range(10)]
    assert jobs[7].name == "simclr-demo-seed1/voc-24k-voc_2007_2012/seed7"
    assert jobs[7].outputs[0] == Path("runs") / jobs[7].name / "result.json"
    once = plan.with_overrides({"transfer": {"TRANSFER.TRIALS": "1"}})
    jobs = [job for job in graph.build(once, ["pretrain", "transfer"]) if job.stage == "transfer"]
    assert [job.name for job in jobs] == [f"simclr-demo-seed{seed}/voc-24k-voc_2007_2012" for seed in (0, 1)]
    with pytest.raises(UserError, match="transfer.TRANSFER.TRIALS=some: expected a whole number from 1"):
        graph.build(plan.with_overrides({"transfer": {"TRANSFER.TRIALS": "some"}}), ["transfer"])
