"""The records of jobs: what is written is read back, an old folder is read, anything else is one line."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import job_graph, job_records, typed_json
from runtime.command_line import UserError
from runtime.job_graph import Job, Resources
from runtime.job_records import FILES, Call, Done, End, Interruption, Outcome, Start, Submission
from runtime.progress import Progress, Snapshot

JOB = Job(
    name="m-seed0/pretrain",
    stage="pretrain",
    module="pretrain.train",
    argv=("--out", "runs/m-seed0/pretrain"),
    folder=Path("runs/m-seed0/pretrain"),
    outputs=(Path("runs/m-seed0/pretrain/backbone.pth"),),
    needs=("data",),
    resources=Resources(gpus=2, mem_gb=1.5),
    row="m-seed0",
    label="m",
    seed=0,
    identity={"key": "k", "code": "c", "inputs": {"a": "b"}},
)
RUNS = Path("runs")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return job_records.home(RUNS, JOB.name)


def test_the_graph_is_read_back_wherever_its_folder_lies_now():
    job_graph.save(RUNS, [JOB])
    job_graph.save(RUNS, [JOB])
    assert [(job.argv, job.outputs, job.needs, job.resources, job.seed) for job in job_graph.load(RUNS)] == [
        (JOB.argv, JOB.outputs, JOB.needs, JOB.resources, JOB.seed)
    ]
    RUNS.rename("kept")
    assert job_graph.load(Path("kept"))[0].outputs == (Path("kept/m-seed0/pretrain/backbone.pth"),)


def test_a_job_keeps_its_identity_and_the_time_of_all_its_starts(folder):
    job_records.write_call(RUNS, JOB)
    for _ in range(2):
        job_records.write_start(folder, 0, "7")
        job_records.write_interruption(folder, "7", 10.0)
    job_records.write_done(folder, JOB.argv, 2.5)
    done = job_records.read(folder, Done)
    assert (done.seconds, done.key, done.code, done.inputs) == (22.5, "k", "c", {"a": "b"})
    job_records.write_call(RUNS, JOB)
    assert job_records.read(folder, Done) is None and job_records.read(folder, Interruption) is None


def test_damaged_records_of_its_beginning_do_not_make_a_job_that_is_done_a_failure(folder):
    folder.mkdir(parents=True)
    for name in ("call.json", "interrupted.json"):
        (folder / name).write_text("{")
    job_records.write_done(folder, JOB.argv, 2.5)
    assert job_records.read(folder, Done).seconds == 2.5


def test_what_an_earlier_submission_recorded_says_nothing_of_this_one(folder):
    job_records.write_end(folder, 0, End(job_id="6", exit_code=2, reason="no data"))
    job_records.write_interruption(folder, "6", 1.0)
    job_records.write_submission(RUNS, JOB, "slurm", "7", log=folder / "7_0_log.err")
    assert job_records.outcome(RUNS, JOB, job_records.read(folder, Submission)) == Outcome(state="")


def test_a_folder_of_an_earlier_version_is_read(folder):
    """Without the log of a submission, the key of a job that is done, and the job id of an interruption."""
    folder.mkdir(parents=True)
    submitted = {"executor": "slurm", "job_id": "7", "host": "n", "argv": list(JOB.argv), "cancelled": False}
    (folder / "submitted.json").write_text(json.dumps(submitted))
    (folder / "interrupted.json").write_text('{"seconds": 30}')
    submission = job_records.read(folder, Submission)
    assert job_records.logs(RUNS, JOB.name, submission)[0] == folder / "7_0_log.err"
    assert job_records.outcome(RUNS, JOB, submission).state == "stopped"
    (folder / "done.json").write_text(json.dumps({"argv": list(JOB.argv), "seconds": 60, "commit": "abc"}))
    JOB.outputs[0].parent.mkdir(parents=True)
    JOB.outputs[0].touch()
    assert job_records.outcome(RUNS, JOB, submission) == Outcome(state="done", seconds=60.0)


def test_progress_is_recorded_where_a_job_wants_it_and_a_folder_that_is_gone_stops_nothing(folder, monkeypatch, capsys):
    monkeypatch.setattr("runtime.progress.record_path", folder / "progress.json")
    progress = Progress(10, "train", start=2)
    progress.update(3)
    folder.mkdir(parents=True)
    progress.update(10, "loss 1")
    snapshot = job_records.read(folder, Snapshot)
    assert (snapshot.done, snapshot.total, snapshot.first_done, snapshot.eta_s) == (10, 10, 3, 0.0)
    assert str(snapshot) in capsys.readouterr().err and snapshot.note == "loss 1"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def contents(kind: type) -> st.SearchStrategy[bytes]:
    """Files that are anything, json of anything, or a record with a field of anything."""
    names = [name for name, _, _ in typed_json._fields(kind)]
    records = st.dictionaries(st.sampled_from(names), VALUES | st.just(["a"]) | st.just("7"), min_size=1)
    return st.binary(max_size=20) | (VALUES | records).map(lambda value: json.dumps(value).encode())


@pytest.mark.parametrize("kind", [Call, Submission, Start, Interruption, End, Done, Snapshot])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_content_is_a_record_or_one_line_that_names_the_file(kind, data):
    path = Path(tempfile.gettempdir()) / f"record-{kind.__name__}.json"
    path.write_bytes(data.draw(contents(kind)))
    try:
        assert isinstance(typed_json.read(path, kind, "delete it"), kind)
    except UserError as error:
        assert str(path) in str(error) and str(error).endswith("delete it") and "\n" not in str(error)
    path.unlink()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(entries=VALUES | st.lists(contents(Job).map(lambda text: text.decode(errors="replace")), max_size=2))
def test_any_graph_is_a_list_of_jobs_or_one_line(entries):
    with tempfile.TemporaryDirectory() as folder:
        path = job_graph.path_of(Path(folder))
        path.parent.mkdir()
        path.write_text(json.dumps(entries))
        try:
            job_graph.load(Path(folder))
        except UserError as error:
            assert str(path) in str(error) and job_graph.REMEDY in str(error)


def test_every_record_has_a_file_and_a_remedy():
    assert all(name.endswith(".json") and "delete it" in remedy for name, remedy in FILES.values())
