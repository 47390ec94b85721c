"""What the numbers cost: time, GPU- and core-hours, images per second, and the size of the networks."""

import csv
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

from analysis.report_page.jobs import JobState
from analysis.report_page.markup import MOST_ROWS, Section, first_of, grid, paragraph
from analysis.report_page.runs_folder import RunsFolder, numbers
from runtime.command_line import UserError

UNKNOWN = "–"
HEAD = ("job", "time", "GPU-hours", "requested", "core-hours", "requested", "images/s", "on")
COUNTED = (
    "Parameters and GFLOPs by fvcore, a multiply and its add counted as one: the backbone without projector, the "
    "detector at its test size over the boxes that it proposes in noise."
)
SIZES = Path(__file__).with_name("network_sizes.csv")
"""The sizes of the suite's own networks, so that a page of them needs no torch (benchmarks/network_sizes.py)."""

BACKBONE = "backbone"


def section(folder: RunsFolder, states: Sequence[JobState]) -> Section:
    """A line per job that ran, the sums, and a line per network."""
    ran = [state for state in states if state.seconds]
    body = ""
    if ran:
        lines = [
            [state.job.name, *hours(state), *speed(folder, folder.path / state.job.name)] for state in ran[:MOST_ROWS]
        ]
        known = [k for k in range(len(HEAD)) if any(line[k] != UNKNOWN for line in lines)]
        head, lines = [HEAD[k] for k in known], [[line[k] for k in known] for line in lines]
        caption = "What each job took"
        if "requested" in head:
            caption += "; requested: up to the limit of one submission"
        body += grid(head, lines, caption=caption) + first_of(MOST_ROWS, len(ran), "jobs")
        body += paragraph(total(states))
    else:
        body += paragraph("No job has recorded how long it ran.", "notice")
    sizes, faults = networks(folder)
    head = ["network", "input", "parameters, M", "GFLOPs"]
    body += grid(head, sizes, caption="Size of the networks, and of one image through them") if sizes else ""
    body += paragraph(COUNTED, "note") if sizes else ""
    body += "".join(paragraph(fault, "notice") for fault in faults)
    return Section(id="cost", title="Cost", body=body)


def hours(state: JobState) -> list[str]:
    """Time, and what was held and requested; unknown where no job record says what was requested."""
    seconds, requested = state.seconds or 0, state.job.resources
    used = seconds / 3600
    if not state.cores:
        return [clock(seconds), *[UNKNOWN] * 4]
    gpus = [f"{requested.gpus * used:.2f}", f"{requested.gpus * requested.hours:g}"]
    cores = [f"{state.cores * used:.2f}", f"{state.cores * requested.hours:g}"]
    return [clock(seconds), *(gpus if requested.gpus else [UNKNOWN] * 2), *cores]


def total(states: Sequence[JobState]) -> str:
    """The sums over all jobs, those that have not run yet among the hours requested."""
    used, gpu_used, gpu_requested, core_used, core_requested = 0.0, 0.0, 0.0, 0.0, 0.0
    for state in states:
        job_hours, requested = (state.seconds or 0) / 3600, state.job.resources
        used += job_hours
        gpu_used += requested.gpus * job_hours
        gpu_requested += requested.gpus * requested.hours
        core_used += state.cores * job_hours
        core_requested += state.cores * requested.hours
    text = f"Together {used:.2f} hours of running"
    if gpu_requested:
        text += f", {gpu_used:.1f} GPU-hours of {gpu_requested:g} requested"
    if core_requested:
        text += f", {core_used:.1f} core-hours of {core_requested:g}"
    return text + "."


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def speed(folder: RunsFolder, path: Path) -> list[str]:
    """Training images per second, and on what: of pretraining from its log, of a detector from its seconds a step."""
    context = folder.json(path / "result.json")
    device, count = str(context.get("device", UNKNOWN)), context.get("processes", 1)
    device = f"{count} x {device}" if isinstance(count, int) and count > 1 else device
    if entries := numbers(folder.log(path / "log.jsonl"), "images_per_s"):
        return [f"{entries[-1][0]:.0f}", device]
    seconds = sorted(value for (value,) in numbers(folder.log(path / "metrics.json"), "time") if value > 0)
    batch = None
    if seconds:
        with folder.expected(path / "config.yaml"):
            batch = float(folder.yaml(path / "config.yaml").get("SOLVER", {}).get("IMS_PER_BATCH", 0))
    return [f"{batch / seconds[len(seconds) // 2]:.1f}" if batch else UNKNOWN, device]


@cache
def known_sizes() -> dict[tuple[str, int], list[str]]:
    """Protocol (or ``backbone``) and classes -> side of the image, parameters in millions, GFLOPs."""
    with SIZES.open(newline="", encoding="utf-8") as file:
        return {
            (line["network"], int(line["classes"])): [line["side"], line["parameters_m"], line["gflops"]]
            for line in csv.DictReader(file)
        }


def networks(folder: RunsFolder) -> tuple[list[list[str]], list[str]]:
    """A line for the backbone and one for each protocol's detector that was begun here; and what was not counted."""
    if not folder.rows:
        return [], []
    lines, faults = [], []
    for network, classes in [(BACKBONE, 0), *detectors(folder)]:
        name = f"detector of {network}, {classes} classes" if classes else "ResNet-50 backbone"
        try:
            lines.append(size_line(name, *(known_sizes().get((network, classes)) or counted(network, classes))))
        except (UserError, ModuleNotFoundError) as error:
            faults.append(f"Not counted, the {name}: {error}.")
    return lines, faults


def detectors(folder: RunsFolder) -> list[tuple[str, int]]:
    """Protocol and classes of the detectors that were begun, by one run of each kind of folder."""
    files = [file for row in reversed(folder.rows) for file in folder.stage_files(row, "run.json")]
    first = {file.stage: file.path for file in files}
    protocols: dict[str, int] = {}
    for path in sorted(first.values()):
        protocol = folder.json(path).get("protocol")
        config = path.with_name("config.yaml")
        with folder.expected(config):
            model = folder.yaml(config).get("MODEL", {})
            if isinstance(protocol, str) and "ROI_HEADS" in model:
                protocols.setdefault(protocol, int(model["ROI_HEADS"].get("NUM_CLASSES", 80)))
    return list(protocols.items())


def counted(network: str, classes: int) -> list[str]:
    """Side, parameters and GFLOPs by fvcore. Raises UserError for an unknown protocol."""
    from transfer.detection import flops  # with it comes torch

    call = partial(flops.detector, network, classes=classes) if classes else flops.backbone
    count = call()
    return [str(count.side), f"{count.parameters / 1e6:.2f}", f"{count.gflops:.2f}"]


def size_line(name: str, side: str, parameters: str, gflops: str) -> list[str]:
    """A line of the table of networks."""
    return [name, f"{side} x {side}", parameters, gflops]
