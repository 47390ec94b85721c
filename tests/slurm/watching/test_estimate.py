"""How long a graph would take, from the speeds that short runs have shown."""

import pytest

from runtime.command_line import UserError
from slurm.planning.graph import build
from slurm.planning.preset import Plan
from slurm.watching import estimate, forecast
from slurm.watching.forecast import Speed

PLAN = Plan(
    methods=("random", "simclr"),
    seeds=(0, 1),
    recipe="demo",
    protocols=("demo-fpn",),
    benchmarks=("scenes",),
    settings={"data": {"images": "10"}},
    resources={"pretrain": {"gpus": 2}, "transfer": {"gpus": 1}},
)
SPEEDS = {"simclr/pretrain": Speed(steps=7200, per_s=1.0), "any/demo-fpn-scenes": Speed(steps=3600, per_s=1.0)}


def test_a_speed_is_that_between_the_first_and_the_last_line(tmp_path):
    log = tmp_path / "log.err"
    log.write_text(
        "12:00:20 pretrain x 1/500 (0%)  0:20 gone, 3:00:00 to go  loss 3\na warning\n"
        "12:00:35 pretrain x 31/500 (6%)  0:35 gone, 4:00 to go  loss 3\n"
    )
    assert forecast.speed_of(log) == Speed(steps=500, per_s=2.0), "the 20 s of the first step are no pace"
    log.write_text("12:00:20 pretrain x 1/500 (0%)  0:20 gone, 3:00:00 to go\n")
    assert forecast.speed_of(log) is None and forecast.speed_of(tmp_path / "none") is None


@pytest.mark.parametrize("gpus, hours", [(1, 8.0), (2, 7.0), (3, 5.0), (4, 4.0), (5, 4.0), (6, 3.0)])
def test_a_graph_ends_when_its_gpus_have_done_it(gpus, hours):
    """Two rows of 2 h on 2 GPUs and then 1 h on 1, and two rows of 1 h on 1; in the order of the graph."""
    jobs = build(PLAN, ["pretrain", "transfer"])
    own = {job.name: SPEEDS[estimate.kind(job)].hours for job in jobs if job.stage in estimate.STAGES}
    assert sum(own.values()) == 8
    assert forecast.finish(jobs, own, gpus=gpus) == pytest.approx(hours)


def test_the_forecast_counts_cells_and_gpu_hours():
    text = estimate.forecast(build(PLAN, ["pretrain", "transfer"]), SPEEDS, gpus=4)
    assert ["simclr/pretrain", "7200", "1", "2.00", "2", "8.0"] in [line.split() for line in text.splitlines()]
    assert "12.0 GPU-hours; with 4 GPUs through in 4.0 h, on " in text


def test_a_probe_is_one_short_run_of_each_kind_from_random_weights_in_its_own_folder():
    short = estimate.probes(PLAN.runs, build(PLAN, ["pretrain", "transfer"]))
    assert list(short) == ["any/demo-fpn-scenes", "simclr/pretrain"]
    words = short["simclr/pretrain"].argv
    assert words[:3] == ("--seconds", "90", "pretrain.train") and "runs/.probe/simclr-demo-seed0/pretrain" in words
    assert short["simclr/pretrain"].needs == ("data/scenes",)


def test_a_probe_calls_the_stage_and_stops_it(suite, tmp_path):
    out = tmp_path / "out"
    assert estimate.main(["--seconds", "0.3", "tiny_stage", "--out", str(out), "--steps", "1000"]) == 0
    assert 0 < int((out / "steps.txt").read_text()) < 1000
    assert estimate.main(["--seconds", "9", "tiny_stage", "--out", str(out), "--fails", "all"]) == 2


def test_a_probe_that_tells_nothing_is_an_error(suite, monkeypatch):
    monkeypatch.setattr(estimate, "STAGES", ("train",))
    with pytest.raises(UserError, match="the probe of any/train tells no speed; its log: runs/jobs/.probe"):
        suite.main("--cluster", "local", "--methods", "random", "--probe", "1")
