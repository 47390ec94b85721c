"""What the numbers cost: time, GPU- and core-hours, images per second, and the size of the networks."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from analysis.report_page.jobs import Job
from analysis.report_page.markup import Section, grid, paragraph
from analysis.report_page.runs_folder import RunsFolder, numbers
from runtime.command_line import UserError

UNKNOWN = "–"
HEAD = ("job", "time", "GPU-hours", "asked for", "core-hours", "asked for", "images/s", "on")
COUNTED = (
    "Parameters and GFLOPs by fvcore, a multiply and its add counted as one: the backbone without projector, the "
    "detector at its test size over the boxes that it proposes in noise."
)


def cost(folder: RunsFolder, jobs: Sequence[Job]) -> Section:
    """A line per job that ran, the sums, and a line per network."""
    ran = [job for job in jobs if job.seconds]
    body = ""
    if ran:
        lines = [[job.name, *hours(job), *speed(folder, folder.path / job.name)] for job in ran]
        known = [k for k in range(len(HEAD)) if any(line[k] != UNKNOWN for line in lines)]
        head, lines = [HEAD[k] for k in known], [[line[k] for k in known] for line in lines]
        caption = "What each job took" + (
            "; asked for up to the limit of one submission" if "asked for" in head else ""
        )
        body += grid(head, lines, caption=caption)
        body += paragraph(total(jobs))
    else:
        body += paragraph("No job has recorded how long it ran.", "notice")
    sizes, faults = networks(folder)
    head = ["network", "input", "parameters, M", "GFLOPs"]
    body += grid(head, sizes, caption="Size of the networks, and of one image through them") if sizes else ""
    body += paragraph(COUNTED, "note") if sizes else ""
    body += "".join(paragraph(fault, "notice") for fault in faults)
    return Section(id="cost", title="Cost", body=body)


def hours(job: Job) -> list[str]:
    """Time, and what was held and asked for; unknown where no job record says what was asked for."""
    used = job.seconds / 3600
    if not job.cores:
        return [clock(job.seconds), *[UNKNOWN] * 4]
    held = [f"{job.gpus * used:.2f}", f"{job.gpus * job.hours:g}"] if job.gpus else [UNKNOWN] * 2
    return [clock(job.seconds), *held, f"{job.cores * used:.2f}", f"{job.cores * job.hours:g}"]


def total(jobs: Sequence[Job]) -> str:
    """The sums over all jobs, those that have not run yet among the hours asked for."""
    used = sum(job.seconds or 0 for job in jobs) / 3600
    text = f"Together {used:.2f} hours of running"
    if any(job.gpus for job in jobs):
        gpu = sum(job.gpus * (job.seconds or 0) for job in jobs) / 3600
        text += f", {gpu:.1f} GPU-hours of {sum(job.gpus * job.hours for job in jobs):g} asked for"
    if any(job.cores for job in jobs):
        core = sum(job.cores * (job.seconds or 0) for job in jobs) / 3600
        text += f", {core:.1f} core-hours of {sum(job.cores * job.hours for job in jobs):g}"
    return text + "."


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def speed(folder: RunsFolder, path: Path) -> list[str]:
    """Training images per second, and on what: of pretraining from its log, of a detector from its seconds a step."""
    context = folder.json(path / "result.json")
    where = context.get("device", UNKNOWN)
    count = context.get("processes", 1)
    where = f"{count} x {where}" if isinstance(count, int) and count > 1 else where
    if entries := numbers(folder.log(path / "log.jsonl"), "images_per_s"):
        return [f"{entries[-1][0]:.0f}", where]
    seconds = sorted(value for (value,) in numbers(folder.log(path / "metrics.json"), "time") if value > 0)
    batch = folder.yaml(path / "config.yaml").get("SOLVER", {}).get("IMS_PER_BATCH") if seconds else None
    return [f"{batch / seconds[len(seconds) // 2]:.1f}" if batch else UNKNOWN, where]


def networks(folder: RunsFolder) -> tuple[list[list[str]], list[str]]:
    """A line for the backbone and one for each protocol's detector that was begun here; and what was not counted."""
    protocols: dict[str, int] = {}
    for path in sorted(folder.path.glob("*/*/run.json")):
        protocol = folder.json(path).get("protocol")
        model = folder.yaml(path.parent / "config.yaml").get("MODEL", {})
        if isinstance(protocol, str) and "ROI_HEADS" in model:
            protocols.setdefault(protocol, model["ROI_HEADS"].get("NUM_CLASSES", 80))
    if not folder.rows:
        return [], []
    from transfer.detection import flops  # with it comes torch

    calls = {"ResNet-50 backbone": flops.backbone}
    for protocol, classes in protocols.items():
        calls[f"detector of {protocol}, {classes} classes"] = partial(flops.detector, protocol, classes=classes)
    lines, faults = [], []
    for name, call in calls.items():
        try:
            lines.append(of(name, call()))
        except (UserError, ModuleNotFoundError) as error:
            faults.append(f"Not counted, the {name}: {error}.")
    return lines, faults


def of(name: str, count) -> list[str]:
    return [name, f"{count.side} x {count.side}", f"{count.parameters / 1e6:.2f}", f"{count.gflops:.2f}"]
