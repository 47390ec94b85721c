"""Jobs side by side on one machine: never more than asked, never two on one GPU."""

from pathlib import Path

from slurm.planning.graph import Job
from slurm.planning.stage import Resources
from slurm.running.scheduler import Schedule
from slurm.watching.console import last_words, tail


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


def test_the_last_words_are_progress_and_the_tail_is_without_submitits_own_lines(tmp_path):
    log = tmp_path / "log.err"
    log.write_text("12:00:01 train 3/9 (33%)\nsubmitit WARNING (x) - Bypassing signal\nsome library warns\n")
    assert last_words([log]) == "train 3/9 (33%)"
    assert tail([tmp_path / "none", log]) == ["12:00:01 train 3/9 (33%)", "some library warns"]
    assert tail([]) == [] and last_words([]) == ""
