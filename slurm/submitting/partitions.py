"""What SLURM says of its partitions: their limits, and from these a first cluster file."""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from runtime import files
from runtime.command_line import Number, UserError
from slurm.watching.slurm_queue import ask


@dataclass(frozen=True, kw_only=True)
class PartitionLimits:
    """The largest node of a partition, and its time limit; None where there is no limit, or it is not known."""

    cpus: int | None = None
    mem_gb: float | None = None
    gpus: int | None = None
    hours: float | None = None


def limits() -> dict[str | None, PartitionLimits]:
    """Name -> limits of every partition of this machine's SLURM; the default one stands under None as well.

    Empty where there is no SLURM, or it does not answer.
    """
    if shutil.which("sinfo") is None:
        return {}
    answer = ask(["sinfo", "--noheader", "--format=%P|%l|%c|%m|%G"])
    by_name: dict[str | None, PartitionLimits] = {}
    for line in answer.stdout.splitlines() if answer.returncode == 0 else []:
        if line.count("|") != 4:
            continue
        name, hours, cpus, mem, gres = line.strip().split("|")
        of_nodes = PartitionLimits(
            cpus=number(cpus), mem_gb=number(mem) / 1024, gpus=gpus_of(gres), hours=hours_of(hours)
        )
        for key in (name.rstrip("*"), *([None] if name.endswith("*") else [])):
            by_name[key] = larger(by_name[key], of_nodes) if key in by_name else of_nodes
    return by_name


def larger(a: PartitionLimits, b: PartitionLimits) -> PartitionLimits:
    """A partition with nodes of two kinds has what the larger ones have."""
    return PartitionLimits(
        cpus=most(a.cpus, b.cpus),
        mem_gb=most(a.mem_gb, b.mem_gb),
        gpus=most(a.gpus, b.gpus),
        hours=most(a.hours, b.hours),
    )


def most(a: Number | None, b: Number | None) -> Number | None:
    """The larger one; None, which is no limit, is larger than any."""
    return None if a is None or b is None else max(a, b)


def number(text: str) -> int:
    """``8+`` -> 8."""
    digits = re.match(r"\d+", text)
    return int(digits[0]) if digits else 0


def gpus_of(gres: str) -> int:
    """``gpu:a100:8(S:0-1)``, ``gpu:2,fs:1`` -> 8, 2; ``(null)`` -> 0."""
    return sum(int(count) for count in re.findall(r"\bgpu(?::[^:,()]+)?:(\d+)", gres))


def hours_of(text: str) -> float | None:
    """SLURM's ``2-12:30:00``, ``30:00`` (minutes), ``infinite`` -> hours."""
    if text.strip().lower() in ("infinite", "unlimited", "n/a", "none", ""):
        return None
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    if days or len(parts) == 3:
        hours, minutes, seconds = (parts + [0, 0])[:3]
    else:
        hours, (minutes, seconds) = 0, (parts + [0])[:2]
    return int(days or 0) * 24 + hours + minutes / 60 + seconds / 3600


def init_cluster(name: str, folder: Path) -> Path:
    """Ask SLURM and write ``folder/NAME.yaml``, a first version to review; return its path.

    Raises UserError if there is no SLURM to ask, or the file exists.
    """
    path = folder / f"{name}.yaml"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(f"--init-cluster {name!r}: expected letters, digits, - and _")
    if path.exists():
        raise UserError(f"{path} exists; edit it, or choose another name")
    known = limits()
    if not known:
        raise UserError("no SLURM answers here (sinfo); give the command on a login node of the cluster")
    files.write_text(path, first_version(known, configuration()))
    return path


def configuration() -> dict[str, str]:
    """SLURM's own configuration, key to value."""
    answer = ask(["scontrol", "show", "config"])
    pairs = (line.partition("=") for line in answer.stdout.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def first_version(known: dict[str | None, PartitionLimits], of_slurm: dict[str, str]) -> str:
    """The text of a cluster file."""
    names = [name for name in known if name]
    default = next((name for name in names if known.get(None) == known[name]), names[0])
    with_gpus = [name for name in names if known[name].gpus]
    without = [name for name in names if not known[name].gpus or "cpu" in name.lower()]
    gpu = default if default in with_gpus or not with_gpus else with_gpus[0]
    cpu = without[0] if without else gpu
    node = known[gpu]
    lines = [
        f"# Written from what SLURM said of itself ({of_slurm.get('ClusterName', 'no name')}, version "
        f"{of_slurm.get('SLURM_VERSION', '?')}). Look it over; slurm/clusters/slurm.yaml has every other key.",
        "# Partitions: " + "; ".join(f"{name} ({about(known[name])})" for name in names),
        "executor: slurm",
        f"partition: {gpu}",
        f"cpu_partition: {cpu}",
        f"gpus_per_node: {node.gpus}",
        *limits_of(node),
        *(limits_of(known[cpu], "cpu_partition_") if cpu != gpu else []),
        f"mem: {'true' if 'MEMORY' in of_slurm.get('SelectTypeParameters', '').upper() else 'false'}"
        "  # whether SLURM counts memory",
        f"max_array: {min(1000, number(of_slurm.get('MaxArraySize', '1001')) - 1)}",
    ]
    hours = [bound for name in (gpu, cpu) if (bound := known[name].hours)]
    if hours:
        lines += [f"hours: {min([24, *hours]):g}  # longer work saves and queues again"]
    if of_slurm.get("TrackWCKey", "No").lower() == "yes":
        lines += ["# wckey: my-key  # this SLURM tracks them"]
    lines += ["# account: my-project", "# qos: normal", "# runs: /a/folder/that/all/nodes/see"]
    return "\n".join(lines) + "\n"


def limits_of(node: PartitionLimits, partition: str = "") -> list[str]:
    """The lines of a cluster file on a partition's largest node and its time limit, where it has one."""
    lines = [f"{partition}cpus_per_node: {node.cpus}", f"{partition}mem_gb_per_node: {node.mem_gb:.1f}"]
    return lines + ([f"{partition}max_hours: {node.hours:g}"] if node.hours else [])


def about(limits: PartitionLimits) -> str:
    """The limits of a partition in words."""
    hours = f"{limits.hours:g} h" if limits.hours else "no time limit"
    return f"{limits.gpus} GPUs, {limits.cpus} cores, {limits.mem_gb:.0f} GB, {hours}"
