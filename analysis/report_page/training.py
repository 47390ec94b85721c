"""Curves of the report: losses and ranks while a backbone was pretrained, losses of the detectors, kept checkpoints."""

from analysis.charts.palette import Looks, split_seed
from analysis.charts.specs import Series
from analysis.report_page.charts import lines
from analysis.report_page.markup import Section, escape, paragraph
from analysis.report_page.runs_folder import RunsFolder, numbers
from pretrain.methods import available, title

RANKS = {
    "effective_rank": "Effective rank of the batch's embeddings",
    "rank_total": "Effective rank on fixed images",
    "rank_intra": "Intra-class effective rank on fixed images, 32 of a class",
    "rank_inter": "Inter-class effective rank on fixed images",
}
NO_TERMS = {"step", "lr", "images_per_s", *RANKS}
"""What a log line holds besides the terms whose sum is the loss."""


def training(folder: RunsFolder) -> Section:
    """Losses of one method in one chart: those of two methods have no common scale. Ranks of all runs in one."""
    looks = Looks(row.name for row in folder.rows)
    body = group("Pretraining", pretraining(folder, looks))
    body += checkpoints(folder, looks)
    body += group("Detectors", detectors(folder, looks))
    if body:
        about = "A colour is a backbone, a dash another seed of it. The number beside a name is the last of its line."
        body = paragraph(about, "note") + body
    else:
        body = paragraph("No pretraining log (ROW/pretrain/log.jsonl) below this folder.", "notice")
    return Section(id="training", title="Training", body=body)


def group(name: str, charts: list[str]) -> str:
    charts = [chart for chart in charts if chart]
    return f'<h3>{escape(name)}</h3>\n<div class="charts">\n{"".join(charts)}</div>\n' if charts else ""


def pretraining(folder: RunsFolder, looks: Looks) -> list[str]:
    logs = {row.name: folder.log(row / "pretrain" / "log.jsonl") for row in folder.rows}
    logs = {name: log for name, log in logs.items() if log}
    groups: dict[str, list[Series]] = {}
    for name, log in logs.items():
        config = folder.yaml(folder.path / name / "pretrain" / "config.yaml")
        values = numbers([{"step": entry.get("step"), "loss": loss(entry)} for entry in log], "step", "loss")
        groups.setdefault(str(config.get("method", name)), []).append(series(name, values, looks))
    charts = [
        lines(some, title=f"Loss, {title(method) if method in available() else method}", x="step", y="sum of its terms")
        for method, some in groups.items()
    ]
    for key, words in RANKS.items():
        some = [series(name, numbers(log, "step", key), looks) for name, log in logs.items()]
        charts.append(lines(some, title=words, x="step", y="effective rank"))
    return charts


def loss(entry: dict) -> float | None:
    """The sum of the terms of a log line, None where it has none."""
    terms = [value for key in entry if key not in NO_TERMS for (value,) in numbers([entry], key)]
    return sum(terms) if terms else None


def checkpoints(folder: RunsFolder, looks: Looks) -> str:
    """Ranks of kept checkpoints, from every curves.json (analysis/curves.py)."""
    parts, paths = [], folder.find("curves.json")
    if paths:
        from analysis.figures.curves import SHOWN  # with it comes matplotlib, which takes a while
    for path in paths:
        content = folder.json(path)
        setting, charts = content.get("setting", {}), []
        for metric, words in SHOWN.items():
            some = []
            for name, points in content.get("runs", {}).items():
                flat = [{"step": point.get("step"), **point.get("values", {})} for point in points]
                some.append(series(name, numbers(flat, "step", metric), looks))
            charts.append(lines(some, title=words[0].upper() + words[1:], x="step", y=metric, points=True))
        images, classes = setting.get("images", "?"), setting.get("classes")
        each = f", {images // classes} of each of {classes} classes" if classes else ""
        of = f"{images} images{each}, {setting.get('layer', '?')} features"
        parts.append(group(f"Kept checkpoints, {of}", charts))
    return "".join(parts)


def detectors(folder: RunsFolder, looks: Looks) -> list[str]:
    """Training losses of the detectors, a chart per protocol and benchmark."""
    groups: dict[str, list[Series]] = {}
    for row in folder.rows:
        for path in sorted(row.glob("*/metrics.json")):
            values = numbers(folder.log(path), "iteration", "total_loss")
            groups.setdefault(path.parent.name, []).append(series(row.name, values, looks))
    return [lines(some, title=f"Loss, {name}", x="iteration", y="sum of its terms") for name, some in groups.items()]


def series(name: str, values: list[tuple[float, ...]], looks: Looks) -> Series:
    backbone, seed = split_seed(name)
    about = {"backbone": backbone, "seed": seed}
    return Series(name=name, x=[x for x, _ in values], y=[y for _, y in values], look=looks.look(name), about=about)
