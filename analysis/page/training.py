"""Curves of the report: losses and ranks while a backbone was pretrained, losses of the detectors, kept checkpoints."""

from analysis.curves import SHOWN
from analysis.page.chart import Series, lines
from analysis.page.folder import Folder, numbers
from analysis.page.markup import Section, paragraph

RANKS = {
    "effective_rank": "effective rank of the batch's embeddings",
    "rank_total": "effective rank on fixed images",
    "rank_intra": "intra-class effective rank on fixed images",
    "rank_inter": "inter-class effective rank on fixed images",
}
NO_TERMS = {"step", "lr", "images_per_s", *RANKS}
"""What a log line holds besides the terms whose sum is the loss."""


def training(folder: Folder) -> Section:
    """Losses of one method in one chart: those of two methods have no common scale. Ranks of all runs in one."""
    parts = [*pretraining(folder), *checkpoints(folder), *detectors(folder)]
    if parts:
        body = f'<div class="charts">\n{"".join(parts)}</div>\n'
        body += paragraph("The number beside a name is the last value of its line.", "note")
    else:
        body = paragraph("No pretraining log (ROW/pretrain/log.jsonl) below this folder.", "notice")
    return Section(id="training", title="Training", body=body)


def pretraining(folder: Folder) -> list[str]:
    logs = {row.name: folder.log(row / "pretrain" / "log.jsonl") for row in folder.rows}
    logs = {name: log for name, log in logs.items() if log}
    colours = {name: number for number, name in enumerate(logs)}
    groups: dict[str, list[Series]] = {}
    for name, log in logs.items():
        config = folder.yaml(folder.path / name / "pretrain" / "config.yaml")
        values = [(entry.get("step"), loss(entry)) for entry in log]
        values = [(step, value) for step, value in values if isinstance(step, int) and value is not None]
        groups.setdefault(str(config.get("method", name)), []).append(series(name, values, colours))
    charts = [
        lines(some, title=f"Pretraining loss, {method}", x="step", y="sum of its terms")
        for method, some in groups.items()
    ]
    for key, title in RANKS.items():
        some = [series(name, numbers(log, "step", key), colours) for name, log in logs.items()]
        charts.append(lines(some, title=f"{title[0].upper()}{title[1:]}", x="step", y="effective rank"))
    return [chart for chart in charts if chart]


def loss(entry: dict) -> float | None:
    """The sum of the terms of a log line, None where it has none."""
    terms = [value for key in entry if key not in NO_TERMS for (value,) in numbers([entry], key)]
    return sum(terms) if terms else None


def checkpoints(folder: Folder) -> list[str]:
    """Ranks of kept checkpoints, from every curves.json (analysis/curves.py)."""
    charts = []
    for path in folder.find("curves.json"):
        content = folder.json(path)
        runs = {name: points for name, points in content.get("runs", {}).items() if points}
        setting = content.get("setting", {})
        for metric, title in SHOWN.items():
            flat = {
                name: [{"step": p.get("step"), **p.get("values", {})} for p in points] for name, points in runs.items()
            }
            some = [series(name, numbers(points, "step", metric), list(flat)) for name, points in flat.items()]
            name = (
                f"Kept checkpoints: {title}, {setting.get('images', '?')} images, {setting.get('layer', '?')} features"
            )
            charts.append(lines(some, title=name, x="step", y=metric, marks=True))
    return [chart for chart in charts if chart]


def detectors(folder: Folder) -> list[str]:
    """Training losses of the detectors, a chart per protocol and benchmark."""
    groups: dict[str, list[Series]] = {}
    rows = [row.name for row in folder.rows]
    for row in folder.rows:
        for path in sorted(row.glob("*/metrics.json")):
            values = numbers(folder.log(path), "iteration", "total_loss")
            groups.setdefault(path.parent.name, []).append(series(row.name, values, rows))
    charts = [
        lines(some, title=f"Detector loss, {name}", x="iteration", y="sum of its terms")
        for name, some in groups.items()
    ]
    return [chart for chart in charts if chart]


def series(name: str, values: list[tuple[float, ...]], order) -> Series:
    colour = list(order).index(name)
    return Series(name=name, x=[x for x, _ in values], y=[y for _, y in values], colour=colour)
