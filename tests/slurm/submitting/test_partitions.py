"""What SLURM says of its partitions, and what it therefore cannot give."""

from pathlib import Path

import pytest

from runtime.command_line import UserError
from slurm.submitting import cluster, partitions
from slurm.submitting.partitions import PartitionLimits, gpus_of, hours_of

SINFO = """\
gpu*|1-00:00:00|64|515000|gpu:a100:8(S:0-1)
gpu*|1-00:00:00|32|257000|gpu:a100:4
cpu|infinite|128|1030000|(null)
"""
CONFIG = "ClusterName = moon\nMaxArraySize = 501\nSelectTypeParameters = CR_CORE_MEMORY\nSLURM_VERSION = 23.11.1\n"


@pytest.fixture
def moon(fake_slurm, tmp_path):
    """A SLURM with GPU nodes of two sizes, and large nodes without a GPU."""
    for name, text in (("sinfo", SINFO), ("scontrol", CONFIG)):
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")


@pytest.mark.parametrize(
    "text, hours", [("30:00", 0.5), ("2:00:00", 2), ("2-12:00:00", 60), ("1-0", 24), ("infinite", None)]
)
def test_time_limits_as_slurm_writes_them(text, hours):
    assert hours_of(text) == hours


@pytest.mark.parametrize("text, gpus", [("gpu:2", 2), ("gpu:a100:8(S:0-1)", 8), ("gpu:2,fs:1", 2), ("(null)", 0)])
def test_gpus_as_slurm_writes_them(text, gpus):
    assert gpus_of(text) == gpus


def test_a_partition_has_what_its_largest_nodes_have(moon):
    known = partitions.limits()
    assert known["gpu"] == known[None] == PartitionLimits(cpus=64, mem_gb=515000 / 1024, gpus=8, hours=24)
    assert known["cpu"].hours is None and known["cpu"].gpus == 0


def test_a_first_cluster_file_is_written_once_and_can_be_read(moon, tmp_path):
    path = partitions.init_cluster("moon", tmp_path)
    place = cluster.load(str(path))
    assert (place.partition, place.cpu_partition, place.gpus_per_node) == ("gpu", "cpu", 8)
    assert (place.max_hours, place.max_array, place.mem) == (24, 500, True)
    assert "# Partitions: gpu (8 GPUs, 64 cores, 503 GB, 24 h); cpu" in path.read_text()
    with pytest.raises(UserError, match="exists"):
        partitions.init_cluster("moon", tmp_path)


def test_each_partition_has_its_own_limits_in_the_file_and_jobs_are_held_against_those_of_theirs(suite, moon, tmp_path):
    path = partitions.init_cluster("moon", tmp_path)
    place = cluster.load(str(path))
    assert (place.cpus_per_node, place.max_hours) == (64, 24)
    assert (place.cpu_partition_cpus_per_node, place.cpu_partition_max_hours) == (128, None), "infinite"
    assert place.cpu_partition_mem_gb_per_node == pytest.approx(1030000 / 1024, abs=0.1)
    path.write_text(path.read_text().replace("\nhours: 24", "\nhours: 72"))
    (tmp_path / "bin" / "sinfo").write_text("#!/bin/sh\nexit 1\n")  # only the file is left to say it
    beyond = ("draw.resources.cpus=100", "draw.resources.hours=48", "draw.resources.mem_gb=900")
    assert suite.main("--cluster", str(path), *beyond, "--dry-run") == 0
    with pytest.raises(UserError, match="draw asks for 129 cores, more than the 128 of a node of cluster moon"):
        suite.main("--cluster", str(path), "draw.resources.cpus=129", "--dry-run")
    with pytest.raises(UserError, match="train asks for 48 h, more than the 24 of a node of cluster moon"):
        suite.main("--cluster", str(path), "train.resources.gpus=8", "train.resources.hours=48", "--dry-run")


def test_without_slurm_there_is_nobody_to_ask(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="no SLURM answers here"):
        partitions.init_cluster("moon", tmp_path)


def test_impossible_requests_are_all_named_before_anything_is_submitted(suite, moon, fake_slurm):
    Path("mine.yaml").write_text("executor: slurm\npartition: gpu\ngpus_per_node: 16\ncpus_per_node: 40\n")
    with pytest.raises(UserError) as error:
        suite.main(
            "--cluster", "mine.yaml", "train.resources.gpus=16", "probe.resources.hours=48", "draw.resources.cpus=50"
        )
    message = str(error.value)
    for words in (
        "train asks for 16 GPUs, more than the 8 of partition gpu",
        "probe asks for 48 h, more than the 24 of partition gpu; set probe.resources.hours, or `hours` of the cluster",
        "draw asks for 50 cores, more than the 40 of a node of cluster mine",
    ):
        assert words in message
    assert not fake_slurm.jobs()
    Path("mine.yaml").write_text("executor: slurm\npartition: gpus\n")
    with pytest.raises(UserError, match="partition gpus, which SLURM does not know"):
        suite.main("--cluster", "mine.yaml")


def test_of_several_partitions_one_that_can_is_enough(suite, moon, fake_slurm):
    Path("mine.yaml").write_text("executor: slurm\npartition: gpu,cpu\n")
    assert suite.main("--cluster", "mine.yaml", "draw.resources.cpus=100", "draw.resources.hours=48", "--dry-run") == 0
    with pytest.raises(UserError, match="draw asks for 200 cores, more than the 128 of partition gpu,cpu"):
        suite.main("--cluster", "mine.yaml", "draw.resources.cpus=200")
    Path("mine.yaml").write_text("executor: slurm\npartition: gpu,gpus\n")
    with pytest.raises(UserError, match="partition gpus, which SLURM does not know"):
        suite.main("--cluster", "mine.yaml")


def test_a_job_that_would_get_the_signal_to_save_as_it_starts_is_refused(suite, moon, fake_slurm):
    Path("mine.yaml").write_text("executor: slurm\npartition: gpu\nhours: 0.1\nsignal_delay_s: 600\n")
    with pytest.raises(UserError, match="draw asks for 0.1 h, no more than the 600 s"):
        suite.main("--cluster", "mine.yaml")


def test_a_cluster_that_caps_the_hours_asks_for_no_more(suite, moon, fake_slurm):
    Path("mine.yaml").write_text("executor: slurm\nhours: 4\ncpus_per_task: 3\n")
    assert suite.main("--cluster", "mine.yaml", "draw.resources.hours=48") == 0
    assert "--time=240\n" in fake_slurm.script("100") and "--cpus-per-task=3\n" in fake_slurm.script("100")


def test_scratch_container_and_interpreter_reach_the_script(suite, fake_slurm):
    Path("mine.yaml").write_text(
        "executor: slurm\nscratch: /local\ncontainer: /images/torch 2.sif\npython: python3\nextra: {mail-type: FAIL}\n"
    )
    assert suite.main("--cluster", "mine.yaml") == 0
    text = fake_slurm.script("100")
    assert 'export TMPDIR=/local/"$SLURM_JOB_ID"' in text and "rm -rf" in text
    assert "apptainer exec --nv '/images/torch 2.sif' python3 -u -m submitit.core._submit" in text
    assert "#SBATCH --mail-type=FAIL\n" in text
