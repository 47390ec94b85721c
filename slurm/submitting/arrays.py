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
        return self.jobs[0].name if len(self.jobs) == 1 else self.jobs[0].stage_path

    @property
    def rows(self) -> list[str]:
        return [job.row for job in self.jobs]


def group(jobs: Sequence[Job], *, queued: Collection[str] = (), largest: int) -> list[Group]:
    """Split ``jobs``, all of which are to be submitted, into groups of at most ``largest``, needs first.

    ``queued`` are names of jobs that are in the queue already.

    A group of several jobs is one stage of several rows such that, for each thing they need, all need the same job, or
    each the same element of one other array.
    """
    by_key: dict[tuple, list[Job]] = {}
    keys: dict[str, tuple] = {}
    row_number = {row: k for k, row in enumerate(dict.fromkeys(job.row for job in jobs if job.row))}
    for job in jobs:
        part = row_number[job.row] // largest if job.row else -1
        keys[job.name] = array_key(job, keys, queued, part)
        by_key.setdefault(keys[job.name], []).append(job)
    groups: list[Group] = []
    group_of: dict[str, Group] = {}
    for members in by_key.values():
        array = Group(jobs=members)
        for group in [array] if is_aligned(array, group_of) else [Group(jobs=[job]) for job in members]:
            groups.append(group)
            group_of.update((job.name, group) for job in group.jobs)
    return groups


def array_key(job: Job, keys: Mapping[str, tuple], queued: Collection[str], part: int) -> tuple:
    """What jobs of one array have in common; ``keys`` are those of the jobs before. A queued job is its own key."""
    if not job.row:
        return (job.name,)
    needs = tuple(keys.get(need, (need,)) for need in job.needs if need in keys or need in queued)
    return (job.stage, job.stage_path, job.resources, part, needs)


def is_aligned(array: Group, group_of: Mapping[str, Group]) -> bool:
    """Whether the needs of a group can be given for all its elements at once."""
    for position in zip(*([need for need in job.needs if need in group_of] for job in array.jobs), strict=True):
        behind = {id(group_of[need]): group_of[need] for need in position}
        if len(behind) > 1 or (len(set(position)) > 1 and next(iter(behind.values())).rows != array.rows):
            return False
    return True


def dependency(group: Group, group_of: Mapping[str, Group], ids: Mapping[str, str]) -> str:
    """The dependency of a group as sbatch takes it; ``ids`` are those of the jobs submitted or in the queue."""
    first = group.jobs[0]
    needs = [need for need in first.needs if need in ids]
    if first.fan_in:
        return joined("afterany", [array_id(ids[need]) if need in group_of else ids[need] for need in needs])
    arrays = [need for need in needs if len(group.jobs) > 1 and need in group_of and len(group_of[need].jobs) > 1]
    element_wise = [need for need in arrays if group_of[need].rows == group.rows]
    parts = [
        joined("afterok", [ids[need] for need in needs if need not in element_wise]),
        joined("aftercorr", [array_id(ids[need]) for need in element_wise]),
    ]
    return ",".join(part for part in parts if part)


def array_id(job_id: str) -> str:
    """``100_3`` -> ``100``: the array for its element."""
    return job_id.partition("_")[0]


def joined(kind: str, ids: Sequence[str]) -> str:
    """A dependency of sbatch, ``afterok:1:2``; empty for no ids."""
    return ":".join([kind, *dict.fromkeys(ids)]) if ids else ""
