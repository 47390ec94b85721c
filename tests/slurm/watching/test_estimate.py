"""How long a graph would take, from the speeds that short runs have shown."""

import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pretrain.monitoring import data_wait
from pretrain.monitoring.data_wait import DataClock, advice
from runtime import job_records, progress
from runtime.command_line import UserError
from runtime.progress import Progress, Snapshot
from slurm.planning import presets
from slurm.planning.experiment import Experiment
from slurm.planning.graph import build
from slurm.running.outcome import Outcome
from slurm.watching import estimate
from slurm.watching.estimate import Speed

PLAN = Experiment(
    methods=("random", "simclr"),
    seeds=(0, 1),
    recipe="demo",
    protocols=("demo-fpn",),
    benchmarks=("scenes",),
    embedded_data=True,
    settings={"data": {"images": "10"}},
    resources={"pretrain": {"gpus": 2}, "transfer": {"gpus": 1}},
)
SPEEDS = {"simclr/pretrain": Speed(steps=7200, per_s=1.0), "any/demo-fpn-scenes": Speed(steps=3600, per_s=1.0)}


def test_a_speed_is_that_between_the_first_report_and_the_last():
    report = Snapshot(label="x", done=31, total=500, elapsed_s=35.0, first_done=1, first_elapsed_s=20.0)
    assert estimate.speed_of(report) == Speed(steps=500, per_s=2.0), "the 20 s of the first step are no pace"
    assert estimate.speed_of(replace(report, done=1, elapsed_s=20.0)) is None and estimate.speed_of(None) is None


@pytest.mark.parametrize("gpus, hours", [(1, 8.0), (2, 7.0), (3, 5.0), (4, 4.0), (5, 4.0), (6, 3.0)])
def test_a_graph_ends_when_its_gpus_have_done_it(gpus, hours):
    """Two rows of 2 h on 2 GPUs and then 1 h on 1, and two rows of 1 h on 1; in the order of the graph."""
    jobs = build(PLAN, ["pretrain", "transfer"])
    own = {name: SPEEDS[key].hours for name, key in estimate.speed_keys(jobs).items()}
    assert sum(own.values()) == 8
    assert estimate.finish(jobs, own, gpus=gpus) == pytest.approx(hours)


def test_the_forecast_counts_cells_and_gpu_hours():
    text = estimate.forecast(build(PLAN, ["pretrain", "transfer"]), SPEEDS, gpus=4)
    assert ["simclr/pretrain", "7200", "1", "2.00", "2", "8.0"] in [line.split() for line in text.splitlines()]
    assert "12.0 GPU-hours; with 4 GPUs through in 4.0 h, on " in text


@pytest.mark.parametrize(
    "load, step, said",
    [
        (1.5, 0.5, "loader 50 images/s, step 200: waits for data 75% of the time; raise data.workers to 8"),
        (0.1, 1.9, "loader 50 images/s, step 53: the step limits (waits for data 5% of the time)"),
    ],
)
def test_the_forecast_says_what_limits(load, step, said, tmp_path, monkeypatch):
    """A short run of 11 steps of 100 images, told of by a clock that the test winds; a process makes a batch in 4 s."""
    now = [0.0]
    for module in (data_wait, progress):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    jobs = build(replace(PLAN, runs=tmp_path), ["pretrain"])

    def batches():
        for _ in range(11):
            now[0] += load
            yield SimpleNamespace(seconds=4.0)

    def execute(run):
        (short,) = [job for job in run if job.module == "slurm.watching.estimate"]
        home = job_records.home(tmp_path, short.name)
        home.mkdir(parents=True)
        monkeypatch.setattr(progress, "record_path", home / "progress.json")
        clock, report = DataClock(batches(), images=100, workers=2), Progress(500, "pretrain simclr")
        for done, _ in enumerate(clock, 1):
            now[0] += step if done < 11 else 0.0
            limit = advice(speeds, workers=2, backend="cv2", device="cpu") if (speeds := clock.speeds()) else ""
            report.update(done, limit=limit)
        report.update(500, limit=limit)
        return Outcome()

    speeds = estimate.measure(tmp_path, jobs, execute=execute)
    assert said in estimate.forecast(jobs, speeds, gpus=1) and not (tmp_path / ".estimate").exists()


def test_each_kind_of_job_has_one_short_run_from_random_weights_in_its_own_folder():
    short = estimate.short_runs(PLAN.runs, build(PLAN, ["pretrain", "transfer"]))
    assert list(short) == ["any/demo-fpn-scenes", "simclr/pretrain"]
    words = short["simclr/pretrain"].argv
    assert words[:3] == ("--seconds", "90", "pretrain.train") and "runs/.estimate/simclr-demo-seed0/pretrain" in words
    assert short["simclr/pretrain"].needs == ("data/scenes",)


def test_short_runs_of_a_preset_are_of_the_network_that_its_rows_train():
    jobs = build(presets.experiment(presets.load("masked-demo")), ["pretrain", "transfer", "linear"])
    short = estimate.short_runs(Path("runs"), jobs)
    for job in short.values():
        importlib.import_module(job.argv[2]).parse(list(job.argv[3:]))
    assert "TRANSFER.BACKBONE=vit_mini_patch8" in short["any/demo-vitdet-scenes"].argv
    assert "network=vit_mini_patch8" in short["any/linear-demo-scenes"].argv


def test_networks_that_differ_have_speeds_of_their_own():
    sized = replace(PLAN, settings={**PLAN.settings, "pretrain@simclr": {"backbone.name": "resnet18"}})
    short = estimate.short_runs(PLAN.runs, build(sized, ["pretrain", "transfer"]))
    assert list(short) == ["resnet50/demo-fpn-scenes", "simclr/pretrain", "resnet18/demo-fpn-scenes"]
    assert "TRANSFER.BACKBONE=resnet18" in short["resnet18/demo-fpn-scenes"].argv


def test_a_short_run_calls_the_stage_and_stops_it(suite, tmp_path):
    out = tmp_path / "out"
    assert estimate.main(["--seconds", "0.3", "tiny_stage", "--out", str(out), "--steps", "1000"]) == 0
    assert 0 < int((out / "steps.txt").read_text()) < 1000
    assert estimate.main(["--seconds", "9", "tiny_stage", "--out", str(out), "--fails", "all"]) == 2


def test_work_that_is_through_before_its_time_is_up_takes_what_it_took(suite, monkeypatch, capsys):
    """What it last reported may be of another loop: a detector's evaluation comes after its training."""
    monkeypatch.setattr(estimate, "STAGES", ("train",))
    monkeypatch.setattr(estimate, "speed_of", lambda progress: pytest.fail("the last report is no speed of the whole"))
    assert suite.main("--cluster", "local", "--methods", "random", "--probe", "1") == 0
    row = next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("any/train"))
    assert row == ["any/train", "all", "0.00", "1", "0.0"]


def test_a_short_run_without_progress_is_an_error(tmp_path):
    def execute(run):
        short = run[-1]
        log = job_records.home(tmp_path, short.name) / "7_0_log.err"
        job_records.write_submission(tmp_path, short, "local", "7", log=log)
        return Outcome()

    jobs = build(replace(PLAN, runs=tmp_path), ["pretrain"])
    with pytest.raises(UserError, match="short run of simclr/pretrain recorded no speed; its log: .*/jobs/.estimate"):
        estimate.measure(tmp_path, jobs, execute=execute)
