"""A stage of many rows is one array, and each of its elements waits for its own row alone."""

from dataclasses import replace

from slurm.planning.experiment import Experiment
from slurm.planning.graph import build
from slurm.submitting import arrays

PLAN = Experiment(
    methods=("random", "simclr", "byol"),
    seeds=(0, 1),
    recipe="demo",
    protocols=("demo-fpn",),
    benchmarks=("scenes",),
    embedded_data=True,
    settings={"data": {"images": "10"}},
)


def submitted(jobs, queued=None, *, largest=1000):
    """Group name -> (size, dependency), as SLURM would be told, ids counted from 1."""
    ids = dict(queued or {})
    todo = [job for job in jobs if job.name not in ids]
    groups = arrays.group(todo, queued=ids, largest=largest)
    member = {job.name: one for one in groups for job in one.jobs}
    told = {}
    for number, one in enumerate(groups, start=1):
        told[f"{number} {one.name}"] = (len(one.jobs), arrays.dependency(one, member, ids))
        several = len(one.jobs) > 1
        ids |= {job.name: f"{number}_{k}" if several else str(number) for k, job in enumerate(one.jobs)}
    return told


def test_a_sweep_is_an_array_per_stage_chained_element_by_element():
    assert submitted(build(PLAN, ["pretrain", "transfer"])) == {
        "1 data/scenes": (1, ""),
        "2 demo-fpn-scenes": (2, "afterok:1"),  # the rows from random initialisation
        "3 pretrain": (4, "afterok:1"),
        "4 convert": (4, "aftercorr:3"),
        "5 demo-fpn-scenes": (4, "afterok:1,aftercorr:4"),
        "6 results": (1, "afterany:1:2:3:4:5"),
        "7 report": (1, "afterany:1:2:3:4:5:6"),
    }


def test_what_waits_for_a_job_in_the_queue_goes_alone_and_the_others_stay_together():
    told = submitted(build(PLAN, ["pretrain", "transfer"]), {"data/scenes": "70", "simclr-demo-seed0/pretrain": "71_3"})
    by_name = {name.partition(" ")[2]: group for name, group in told.items()}
    assert by_name["pretrain"] == (3, "afterok:70")
    assert by_name["simclr-demo-seed0/convert"] == (1, "afterok:71_3")
    array = next(name.partition(" ")[0] for name in told if name.endswith(" pretrain"))
    assert by_name["convert"] == (3, f"aftercorr:{array}")


def test_an_array_whose_order_is_not_that_of_what_it_needs_is_no_array():
    jobs = [job for job in build(PLAN, ["pretrain"]) if job.stage == "pretrain"]
    backwards = [
        replace(job, name=f"{job.row}/next", stage="next", needs=(job.name,), fan_in=False) for job in reversed(jobs)
    ]
    told = submitted([*jobs, *backwards])
    assert all(size == 1 for name, (size, _) in told.items() if "next" in name)
    assert sorted(after for name, (_, after) in told.items() if "next" in name) == [f"afterok:1_{k}" for k in range(4)]


def test_no_array_is_larger_than_the_site_allows():
    told = submitted(build(PLAN, ["pretrain", "transfer"]), largest=4)
    assert [size for name, (size, _) in told.items() if "pretrain" in name] == [2, 2]
    assert all(after.startswith("aftercorr:") for name, (_, after) in told.items() if "convert" in name)
