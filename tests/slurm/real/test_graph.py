"""The graph on a real SLURM: arrays, plain scripts, cancelling a part, and elements that queue themselves again."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from slurm import cancel, status

PLACE = "executor: slurm\npartition: gpu\ncpu_partition: cpu\nmem: false\nhours: 0.4\n"
HERE = ("--cluster", "c.yaml")


@pytest.fixture
def sweep(real_slurm, suite):
    """The tiny stages, to be run by a real SLURM; what is left of them is cancelled."""
    Path("c.yaml").write_text(PLACE)
    yield suite
    if Path("runs/jobs/graph.json").exists():
        cancel.main(["runs"])


def states(capsys) -> dict[str, str]:
    capsys.readouterr()
    status.main(["runs", "--json"])
    return {one["job"]: one["state"] for one in json.loads(capsys.readouterr().out)}


def until(capsys, true, *, within_s: float = 150) -> dict[str, str]:
    """Look until what status says is ``true``."""
    end = time.monotonic() + within_s
    while not true(found := states(capsys)):
        assert time.monotonic() < end, found
        time.sleep(1)
    return found


def over(found: dict[str, str]) -> bool:
    return not {"running", "queued"} & set(found.values())


def test_a_failed_cell_costs_its_row_and_neither_the_others_nor_the_table(sweep, capsys):
    assert sweep.main(*HERE, "--seeds", "0,1", "--max-running", "2", "train.fails=random") == 0
    found = until(capsys, over)
    assert {found[f"random-seed{k}/train"] for k in (0, 1)} == {"failed"}
    assert {found[f"random-seed{k}/probe"] for k in (0, 1)} == {"cancelled"}
    assert {found[f"matrix_ssl-seed{k}/probe"] for k in (0, 1)} == {found["results"]} == {"done"}
    assert not list(Path("runs").rglob("*_result.pkl")), "the pickles of what ended well are gone"
    assert sweep.main(*HERE, "--seeds", "0,1", "train.fails=nobody") == 0
    assert set(until(capsys, over).values()) == {"done"}
    assert sweep.calls("random-seed0/train") == 2 and sweep.calls("matrix_ssl-seed0/probe") == 2


def test_an_element_queues_itself_again_and_a_cancelled_row_leaves_the_others(sweep, capsys):
    assert sweep.main(*HERE, "train.steps=500") == 0
    paths = [Path(f"runs/{row}-seed0/train/steps.txt") for row in ("random", "matrix_ssl")]
    until(capsys, lambda _: all(path.exists() for path in paths))
    element = json.loads(Path("runs/jobs/matrix_ssl-seed0/train/submitted.json").read_text())["job_id"]
    assert element.endswith("_1"), "the last element, whose number alone is that of the whole array"
    subprocess.run(["scancel", "--signal=USR2", element], check=True)
    until(capsys, lambda found: found["matrix_ssl-seed0/train"] == "queued")
    assert states(capsys)["random-seed0/train"] == "running"
    cancel.main(["runs", "--method", "random"])
    found = until(capsys, over)
    assert found["random-seed0/train"] == found["random-seed0/probe"] == "cancelled"
    assert found["matrix_ssl-seed0/probe"] == found["results"] == "done"
    assert sweep.calls("matrix_ssl-seed0/train") == 2 and sweep.calls("random-seed0/train") == 1


def test_a_seed_that_joins_while_the_table_waits_is_waited_for(sweep, capsys):
    assert sweep.main(*HERE, "train.steps=200") == 0
    until(capsys, lambda found: found["random-seed0/train"] == "running")
    assert sweep.main(*HERE, "--seeds", "0,1", "train.steps=200") == 0
    assert set(until(capsys, over).values()) == {"done"}
    ended = [path.stat().st_mtime for path in Path("runs/jobs").glob("*-seed*/probe/done.json")]
    assert len(ended) == 4 and Path("runs/jobs/results/done.json").stat().st_mtime >= max(ended)
    assert sweep.calls("random-seed0/train") == 1, "what was running is not run twice"


def test_plain_scripts_need_no_python_to_be_submitted(sweep, capsys):
    assert sweep.main(*HERE, "--export-sbatch", "out") == 0
    bare = {"PATH": "/usr/bin:/bin", "SLURM_CONF": os.environ["SLURM_CONF"], "PYTHONPATH": os.environ["PYTHONPATH"]}
    subprocess.run(["sh", "out/submit.sh"], check=True, env=bare)
    assert set(until(capsys, over).values()) == {"done"}
