"""Jobs side by side on one machine: never more than asked, never two on one GPU."""

from pathlib import Path

from runtime.job_graph import Job, Resources
from slurm.running.scheduler import Schedule
from slurm.watching.console import progress_of, tail


def job(name, needs=(), gpus=0):
    return Job(
        name=name,
        stage="s",
        module="m",
        argv=(),
        folder=Path(name),
        inputs=(),
        outputs=(),
        needs=needs,
        resources=Resources(gpus=gpus),
    )


class Ended:
    """A process that is over at the third look."""

    logs = ()

    def __init__(self, story, job, gpus):
        self.story, self.job, self.looks = story, job, 0
        story.append(("starts", job.name, tuple(gpus)))

    def code(self):
        self.looks += 1
        return 0 if self.looks == 3 else None

    def clean(self):
        self.story.append(("ends", self.job.name))


def story_of(jobs, *, parallel, gpus):
    story = []
    schedule = Schedule(
        Path("runs"),
        jobs,
        done=set(),
        start=lambda runs, job, *, cores, gpus: Ended(story, job, gpus),
        parallel=parallel,
        cores=4,
        gpus=gpus,
    )
    assert not schedule.run().failed
    return story


def test_one_at_a_time_in_the_order_of_the_graph():
    story = story_of([job("a"), job("b", ("a",)), job("c")], parallel=1, gpus=[])
    assert [line[:2] for line in story] == [(what, name) for name in "abc" for what in ("starts", "ends")]


def test_a_job_waits_for_free_gpus_and_not_for_a_free_place_alone():
    story = story_of([job("a", gpus=1), job("b", gpus=1), job("c", gpus=2)], parallel=3, gpus=[4, 6])
    assert story[:2] == [("starts", "a", (4,)), ("starts", "b", (6,))]
    assert story.index(("starts", "c", (4, 6))) > max(story.index(("ends", name)) for name in "ab")


def test_progress_is_read_from_its_record_and_the_tail_leaves_out_submitits_lines(tmp_path):
    (tmp_path / "progress.json").write_text('{"label": "train", "done": 3, "total": 9, "elapsed_s": 6.0, "eta_s": 12}')
    assert progress_of(tmp_path) == "train 3/9 (33%)  0:06 gone, 0:12 to go"
    (tmp_path / "progress.json").write_text("{")
    assert progress_of(tmp_path) == progress_of(tmp_path / "none") == ""
    log = tmp_path / "log.err"
    log.write_text("submitit WARNING (x) - Bypassing signal\nsome library warns\n")
    assert tail([tmp_path / "none", log]) == ["some library warns"]
    assert tail([]) == []
