"""Which jobs go to SLURM together: the same stage of many rows is one array, and each element waits for its own row."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from runtime.job_graph import Job


@dataclass(frozen=True, kw_only=True)
class Group:
    """Jobs that are submitted by one sbatch; more than one are the elements of an array, in this order."""

    jobs: list[Job]

    @property
    def name(self) -> str:
        """Of the job in the queue; an array's is what its elements' names have in common."""
        return self.jobs[0].name if len(self.jobs) == 1 else leaf(self.jobs[0])

    @property
    def rows(self) -> list[str]:
        return [job.row for job in self.jobs]


def leaf(job: Job) -> str:
    """The name of a job without its row: ``demo-fpn-scenes``."""
    return job.name.removeprefix(f"{job.row}/")


def group(jobs: Sequence[Job], *, queued: Collection[str] = (), largest: int) -> list[Group]:
    """Split ``jobs``, all of which are to be submitted, into groups of at most ``largest``, needs first.

    ``queued`` are names of jobs that are in the queue already.

    A group of several jobs is one stage of several rows such that, for each thing they need, all need the same job, or
    each the same element of one other array.
    """
    together: dict[tuple, list[Job]] = {}
    keys: dict[str, tuple] = {}
    place = {row: k for k, row in enumerate(dict.fromkeys(job.row for job in jobs if job.row))}
    for job in jobs:
        keys[job.name] = kind(job, keys, queued, place[job.row] // largest if job.row else -1)
        together.setdefault(keys[job.name], []).append(job)
    groups: list[Group] = []
    member: dict[str, Group] = {}
    for members in together.values():
        whole = Group(jobs=members)
        fitting = [whole] if is_aligned(whole, member) else [Group(jobs=[job]) for job in members]
        groups += fitting
        member |= {job.name: one for one in fitting for job in one.jobs}
    return groups


def kind(job: Job, keys: Mapping[str, tuple], queued: Collection[str], part: int) -> tuple:
    """What jobs of one array have in common; ``keys`` are those of the jobs before. One in the queue is itself."""
    if not job.row:
        return (job.name,)
    needs = tuple(keys.get(need, need) for need in job.needs if need in keys or need in queued)
    return (job.stage, leaf(job), job.resources, part, needs)


def is_aligned(whole: Group, member: Mapping[str, Group]) -> bool:
    """Whether the needs of a group can be said for all its elements at once."""
    for position in zip(*([need for need in job.needs if need in member] for job in whole.jobs), strict=True):
        behind = {id(member[need]): member[need] for need in position}
        if len(behind) > 1 or (len(set(position)) > 1 and next(iter(behind.values())).rows != whole.rows):
            return False
    return True


def dependency(one: Group, member: Mapping[str, Group], ids: Mapping[str, str]) -> str:
    """The dependency of a group as sbatch takes it; ``ids`` are those of the jobs submitted or in the queue."""
    first = one.jobs[0]
    needs = [need for need in first.needs if need in ids]
    if first.fan_in:
        return joined("afterany", [whole(ids[need]) if need in member else ids[need] for need in needs])
    mine = [need for need in needs if len(one.jobs) > 1 and need in member and len(member[need].jobs) > 1]
    element = [need for need in mine if member[need].rows == one.rows]
    parts = [
        joined("afterok", [ids[need] for need in needs if need not in element]),
        joined("aftercorr", [whole(ids[need]) for need in element]),
    ]
    return ",".join(part for part in parts if part)


def whole(job_id: str) -> str:
    """``100_3`` -> ``100``: the array for its element."""
    return job_id.partition("_")[0]


def joined(kind: str, ids: Sequence[str]) -> str:
    return ":".join([kind, *dict.fromkeys(ids)]) if ids else ""
