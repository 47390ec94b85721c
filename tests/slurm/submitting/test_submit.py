"""The SLURM path on a fake SLURM: what is asked for, what is chained, what is queued again and what never twice."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.command_line import UserError
from slurm.submitting import batch_script, cluster
from slurm.watching import console, follow, slurm_queue

pytestmark = pytest.mark.slow

SLURM = ("--cluster", "slurm")


def text_of(fake_slurm, name: str) -> str:
    """The batch script of the job called ``name``."""
    return next(s for s in (fake_slurm.script(job.name) for job in fake_slurm.jobs()) if f"--job-name={name}\n" in s)


def test_everything_is_submitted_at_once_in_a_chain_and_runs_to_the_end(suite, fake_slurm, capsys):
    assert suite.main(*SLURM) == 0
    assert "6 jobs are in the queue" in capsys.readouterr().out
    assert "dependency" not in text_of(fake_slurm, "draw")
    train, probe = text_of(fake_slurm, "train"), text_of(fake_slurm, "probe")
    assert "#SBATCH --dependency=afterok:100\n" in train and "#SBATCH --array=0-1%2\n" in train
    assert "#SBATCH --dependency=aftercorr:101\n" in probe and "#SBATCH --array=0-1%2\n" in probe
    assert "#SBATCH --dependency=afterany:100:101:102\n" in text_of(fake_slurm, "results")

    fake_slurm.run_queue()
    assert {fake_slurm.state(job) for job in fake_slurm.jobs()} == {"COMPLETED"}
    assert suite.main(*SLURM) == 0
    assert "1 jobs are in the queue" in capsys.readouterr().out, "only the table is made anew"


def test_a_job_without_gpus_asks_for_none_and_goes_to_the_cpu_partition(suite, fake_slurm):
    Path("mine.yaml").write_text("executor: slurm\npartition: gpu\ncpu_partition: cpu\nmem: false\n")
    assert suite.main("--cluster", "mine.yaml") == 0
    text = text_of(fake_slurm, "draw")
    assert "--partition=cpu\n" in text and "--gpus" not in text and "--mem" not in text


def test_the_same_command_while_jobs_are_queued_submits_nothing(suite, fake_slurm, capsys):
    assert suite.main(*SLURM) == 0
    assert suite.main(*SLURM) == 0
    assert len(fake_slurm.jobs()) == 6
    with pytest.raises(UserError, match="draw is in the queue as job 100 with other settings"):
        suite.main(*SLURM, "draw.name=other")
    assert len(fake_slurm.jobs()) == 6


def test_a_table_that_waits_already_waits_for_the_rows_that_join_too(suite, fake_slurm, capsys):
    assert suite.main(*SLURM) == 0
    assert suite.main(*SLURM, "--seeds", "0,1") == 0
    old, *rows, new = fake_slurm.jobs()[5:]
    assert fake_slurm.state(old) == "CANCELLED" and len(rows) == 4
    ids = {job.name.partition("_")[0] for job in rows}
    waits_for = fake_slurm.option(new, "dependency").split(":")
    assert waits_for[0] == "afterany" and {"100", "101_0", "101_1", "102_0", "102_1", *ids} == set(waits_for[1:])
    assert suite.main(*SLURM, "--seeds", "0,1") == 0
    assert fake_slurm.jobs()[-1] == new, "nothing has joined: it waits on"


def test_without_sbatch_the_error_is_one_line(suite, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="no sbatch on this machine; submit from a login node, or say --cluster local"):
        suite.main(*SLURM)


def test_failed_work_is_submitted_again_and_chained_to_what_is_still_queued(suite, fake_slurm):
    assert suite.main(*SLURM, "train.fails=random") == 0
    fake_slurm.run_queue()
    states = {job.name: fake_slurm.state(job) for job in fake_slurm.jobs()}
    assert states["101_0"] == "FAILED" and states["102_0"] == "CANCELLED", "random-seed0: train, probe"
    assert states["101_1"] == states["102_1"] == "COMPLETED", "matrix_ssl-seed0: train, probe"
    assert states["103"] == "COMPLETED", "a failed cell does not cost the table"
    assert suite.main(*SLURM, "train.fails=nobody") == 0
    assert "--dependency" not in fake_slurm.script("104_0"), "the images are drawn already"
    assert "aftercorr:104\n" in fake_slurm.script("105_0")


@pytest.mark.parametrize("ended", ["FAILED", "CANCELLED"])
def test_a_job_that_waits_for_one_that_ended_badly_waits_for_the_new_one(suite, fake_slurm, ended):
    """SLURM removes what can never start only at its next look; a command may come before, as one that says scancel."""
    assert suite.main(*SLURM, "--methods", "random") == 0
    draw, train, probe, table = fake_slurm.jobs()
    fake_slurm.state(train, ended)
    assert suite.main(*SLURM, "--methods", "random", "train.steps=2") == 0
    new_train, new_probe, new_table = fake_slurm.jobs()[4:]
    assert [fake_slurm.state(job) for job in (draw, train, probe, table)] == [
        "PENDING",
        ended,
        "CANCELLED",
        "CANCELLED",
    ]
    assert fake_slurm.option(new_train, "dependency") == f"afterok:{draw.name}"
    assert fake_slurm.option(new_probe, "dependency") == f"afterok:{new_train.name}"
    fake_slurm.run_queue()
    assert {fake_slurm.state(job) for job in (draw, new_train, new_probe, new_table)} == {"COMPLETED"}


def test_a_job_that_runs_stays_though_what_it_needed_is_made_again(suite, fake_slurm):
    assert suite.main(*SLURM, "--methods", "random") == 0
    draw, train, probe, _ = fake_slurm.jobs()
    for job, state in ((draw, "COMPLETED"), (train, "COMPLETED"), (probe, "RUNNING")):
        fake_slurm.state(job, state)
    assert suite.main(*SLURM, "--methods", "random") == 0
    assert fake_slurm.state(probe) == "RUNNING"


def test_the_job_that_submits_passes_nothing_of_its_own_on(suite, fake_slurm, monkeypatch):
    sbatch = Path("bin/sbatch")
    sbatch.write_text(sbatch.read_text().replace("#!/bin/sh\n", "#!/bin/sh\nenv > sbatch.env\n"))
    of_the_job = {"SLURM_CPU_BIND": "mask_cpu:0x0F", "SLURM_ARRAY_JOB_ID": "900", "SLURM_ARRAY_TASK_ID": "3"}
    for name, value in (of_the_job | {"SLURM_CONF": "/site/slurm.conf"}).items():
        monkeypatch.setenv(name, value)
    seen = []
    assert suite.main(*SLURM, "--methods", "random") == 0
    seen.append(Path("sbatch.env").read_text())
    assert suite.main(*SLURM, "--methods", "matrix_ssl", "--export-sbatch", "scripts", "--runs", "other") == 0
    subprocess.run(["sh", "scripts/submit.sh"], check=True, capture_output=True)
    seen.append(next(Path().rglob("scripts/sbatch.env")).read_text())
    for text in seen:
        names = {line.partition("=")[0] for line in text.splitlines() if line.startswith("SLURM_")}
        assert names == {"SLURM_CONF"}
    assert os.environ["SLURM_ARRAY_JOB_ID"] == "900"


@pytest.mark.parametrize("code", [140, 143])
def test_a_controller_that_is_silent_is_asked_again_by_the_batch_script(tmp_path, monkeypatch, code):
    commands = {
        "sleep": "",
        "scontrol": f"""
            echo "$1" >> {tmp_path}/calls
            [ $(wc -l < {tmp_path}/calls) -gt 2 ] || exit 1
            echo "JobId=5 JobState=RUNNING PreemptTime=2026-11-22T06:36:15"
            [ "$1" != requeue ] || [ $(wc -l < {tmp_path}/calls) -gt 4 ] || exit 1
        """,
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    script = f"(exit {code})\n" + "\n".join(batch_script.epilogue(tmp_path))
    assert subprocess.run(["bash", "-c", script], capture_output=True).returncode == code
    one = "--oneliner"
    assert (tmp_path / "calls").read_text().split() == [one, one, one, "requeue", one, "requeue"]


def test_a_signal_makes_the_job_save_queue_itself_again_and_finish(suite, fake_slurm):
    steps = suite.folder / "runs/random-seed0/train/steps.txt"
    assert suite.main(*SLURM, "--methods", "random", "--stage", "train", "train.steps=20") == 0
    draw, train = fake_slurm.jobs()[:2]
    fake_slurm.state(draw, "COMPLETED")
    fake_slurm.run_queue(signal=str(steps))
    assert fake_slurm.state(train) == "COMPLETED"
    assert suite.calls("random-seed0/train") == 2
    log = Path(f"runs/jobs/random-seed0/train/{train.name}_0_log.err").read_text()
    assert f"job {train.name} goes back into the queue and will resume" in log


@pytest.mark.parametrize(
    "number, preempted, ends",
    [
        (signal.SIGUSR2, "None", "COMPLETED"),
        (signal.SIGTERM, "2026-11-22T06:36:15", "COMPLETED"),
        (signal.SIGTERM, "None", "FAILED"),  # somebody ended it
    ],
)
def test_a_job_that_is_told_before_python_listens_queues_itself_again(
    suite, fake_slurm, monkeypatch, number, preempted, ends
):
    monkeypatch.setenv("FAKE_PREEMPTED", preempted)
    assert suite.main(*SLURM, "--methods", "random", "--stage", "draw") == 0
    fake_slurm.run_queue(signal=str(suite.folder), which=number)  # the folder is there: at once
    assert fake_slurm.state(fake_slurm.jobs()[0]) == ends
    assert suite.calls("draw") == (ends == "COMPLETED")


@pytest.mark.parametrize("gpus", [0, 2])
def test_in_a_container_without_slurm_the_batch_script_queues_the_job_again(suite, fake_slurm, gpus):
    contained = suite.folder / "contained-python"
    contained.write_text(f'#!/bin/sh\nPATH=/nowhere exec {sys.executable} "$@"\n')
    contained.chmod(0o755)
    Path("mine.yaml").write_text(f"executor: slurm\npython: {contained}\n")
    words = ("--methods", "random", "--stage", "train", "train.steps=20", f"train.resources.gpus={gpus}")
    assert suite.main("--cluster", "mine.yaml", *words) == 0
    draw, train = fake_slurm.jobs()[:2]
    fake_slurm.state(draw, "COMPLETED")
    fake_slurm.run_queue(signal=str(suite.folder / "runs/random-seed0/train/steps.txt"))
    assert fake_slurm.state(train) == "COMPLETED" and suite.calls("random-seed0/train") == 2
    assert "goes back into the queue" in Path(f"runs/jobs/random-seed0/train/{train.name}_0_log.err").read_text()


def test_a_cancelled_job_does_not_rise_again(suite, fake_slurm, monkeypatch, capfd):
    from slurm.running import stage_call

    calls = []
    answer = subprocess.CompletedProcess([], 0, stdout="COMPLETING\n")
    monkeypatch.setattr(stage_call.subprocess, "run", lambda command, **_: calls.append(command[0]) or answer)
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    with pytest.raises(SystemExit) as end:
        stage_call.requeue(0, None)
    assert end.value.code == stage_call.INTERRUPTED and calls == ["squeue", "scontrol"], "it asks why, and no more"
    assert "left to SLURM" in capfd.readouterr().err


def test_the_tasks_of_a_job_find_each_other(suite, fake_slurm):
    Path("mine.yaml").write_text("executor: slurm\ngpus_per_node: 2\n")
    assert (
        suite.main("--cluster", "mine.yaml", "--methods", "random", "--stage", "train", "train.resources.gpus=2") == 0
    )
    fake_slurm.run_queue()
    assert Path("runs/random-seed0/train/out.txt").read_text() == "2 1\n"


def test_wait_follows_to_the_end_and_names_the_failure(suite, fake_slurm, capsys, monkeypatch):
    looks = []
    monkeypatch.setattr(follow.time, "sleep", lambda seconds: looks.append(seconds) or fake_slurm.run_queue())
    assert suite.main(*SLURM, "--wait", "train.fails=random") == 1
    err = capsys.readouterr().err
    assert "failed: random-seed0/train" in err and "the data of random is not there" in err
    assert "did not run, because it needs that: random-seed0/probe" in err


def test_wait_tells_how_far_a_job_is_and_outlives_a_slurm_that_is_silent(suite, fake_slurm, capsys, monkeypatch):
    ask, asked = slurm_queue.squeue, []

    def answer(ids):
        """Pending; running; silent; through. The first time it is asked what is in the queue already."""
        asked.append(ids)
        draw = next(iter(fake_slurm.jobs()), None)
        if len(asked) == 3:
            fake_slurm.state(draw, "RUNNING")
            record = '{"label": "draw", "done": 30, "total": 250, "elapsed_s": 60.0}'
            (suite.runs / "jobs/draw/progress.json").write_text(record)
        elif len(asked) == 4:
            raise UserError("squeue does not answer (no controller)")
        elif len(asked) == 5:
            fake_slurm.state(draw, "PENDING")
            fake_slurm.run_queue()
        return ask(ids)

    monkeypatch.setattr(slurm_queue, "squeue", answer)
    monkeypatch.setattr(follow.time, "sleep", lambda _: None)
    monkeypatch.setattr(follow, "View", lambda names: console.View(names, every_s=0))
    assert suite.main(*SLURM, "--wait", "--methods", "random") == 0
    err = capsys.readouterr().err
    assert "draw: draw 30/250 (12%)" in err and "squeue does not answer (no controller)" in err


TASK = """
trap 'sleep 0.3; [ -d "$TMPDIR" ] && touch saved; exit 75' TERM
touch "$TMPDIR/file" running
while :; do sleep 0.05; done
"""


def test_the_folder_for_temporary_files_goes_with_a_job_that_is_ended_but_not_before_its_tasks(fake_slurm, tmp_path):
    """SLURM sends SIGTERM to the batch script and to the tasks at once, and starts no more tasks for the job."""
    (tmp_path / "task.sh").write_text(TASK)
    only = f'while [ "${{1#--}}" != "$1" ]; do shift; done; [ ! -e {tmp_path}/running ] || exit 1; exec "$@"'
    (tmp_path / "bin" / "srun").write_text(f"#!/bin/sh\n{only}\n")
    place = cluster.Cluster(name="x", executor="slurm", scratch=str(tmp_path / "local"))
    lines = ["set -e", *batch_script.prologue(place, 1, tmp_path), "set +e", "srun sh task.sh", "exit $?"]
    (tmp_path / "job.sh").write_text("\n".join(lines) + "\n")
    left_by_the_first_start = tmp_path / "local" / "7" / "old"
    left_by_the_first_start.mkdir(parents=True)
    variables = os.environ | {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1"}
    process = subprocess.Popen(["bash", "job.sh"], cwd=tmp_path, env=variables, start_new_session=True)
    while not (tmp_path / "running").exists():
        assert process.poll() is None
    assert not left_by_the_first_start.exists() and (tmp_path / "local" / "7" / "file").exists()
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=20) == 75
    assert (tmp_path / "saved").exists() and not (tmp_path / "local" / "7").exists()


def test_gpus_fill_whole_nodes(suite, fake_slurm):
    with pytest.raises(UserError, match="train asks for 12 GPUs, which fill no whole number of slurm's nodes of 8"):
        suite.main(*SLURM, "train.resources.gpus=12")


def test_auto_takes_slurm_when_it_answers_and_this_machine_when_there_is_none(fake_slurm, monkeypatch):
    assert cluster.load("auto").executor == "slurm"
    monkeypatch.setenv("PATH", "/nowhere")
    assert cluster.load("auto").executor == "local"


def test_auto_says_so_when_slurm_is_there_but_silent(fake_slurm, tmp_path, capsys):
    (tmp_path / "bin" / "sinfo").write_text("#!/bin/sh\necho Unable to contact slurm controller >&2; exit 1\n")
    assert cluster.load("auto").executor == "local"
    assert "(Unable to contact slurm controller): running on this machine" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text, words",
    [
        ("partion: gpu\n", ["unknown setting 'partion'", "executor is not given"]),
        (
            "executor: slurm\nmax_array: 0\nhours: -1\ngpus_per_node: 0\n",
            ["max_array must be at least 1", "hours must be above 0"],
        ),
        (
            "executor: slurm\nmax_hours: a day\ngpus_per_node: true\nsetup: module load cuda\nhours: 3\n",
            ["max_hours must be a finite number", "gpus_per_node must be a whole number", "setup must be a list"],
        ),
        ("executor: moon\n", ["executor must be one of slurm, local, debug, got 'moon'"]),
        ("executor: slurm\nextra: [a]\n", ["extra must be a group"]),
        ("[executor]\n", ["expected settings"]),
        ("executor: [slurm\n", ["is no YAML"]),
    ],
)
def test_a_cluster_file_is_checked_whole(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        cluster.load(str(path))
    assert len(error.value.faults) == len(words)
    for word in words:
        assert any(word in fault and "mine.yaml" in fault for fault in error.value.faults), error.value.faults


def test_two_users_at_the_same_moment_submit_every_job_once(suite, fake_slurm):
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r}); import conftest, pathlib; "
    code += "sys.exit(conftest.Suite(pathlib.Path.cwd()).main('--cluster', 'slurm'))"
    users = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [user.communicate(timeout=60)[0] for user in users]
    assert [user.returncode for user in users] == [0, 0, 0]
    assert len(fake_slurm.jobs()) == 6
    assert len({text.partition("jobs are")[0] for text in said}) == 1, "all three see the same jobs"


def test_what_is_in_the_queue_is_not_run_on_this_machine_too(suite, fake_slurm):
    assert suite.main(*SLURM) == 0
    with pytest.raises(UserError, match="draw is in the queue as job 100; wait for it"):
        suite.main("--cluster", "local")
    fake_slurm.run_queue()
    assert suite.main("--cluster", "local") == 0
