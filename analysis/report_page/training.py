"""Curves of the report: losses and ranks of pretraining, losses of detectors and language models, kept checkpoints."""

from analysis.figures.curves import INFORMATION, SHOWN
from analysis.figures.palette import Looks, split_seed
from analysis.figures.specs import Series
from analysis.report_page.charts import lines
from analysis.report_page.markup import MOST_ROWS, Section, escape, first_of, paragraph
from analysis.report_page.runs_folder import RunsFolder, numbers
from analysis.results_table.model import method_titles
from pretrain.monitoring.data_wait import LOGGED

RANKS = {
    "effective_rank": "Effective rank of the batch's embeddings",
    "rank_total": "Effective rank on fixed images",
    "rank_intra": "Intra-class effective rank on fixed images, 32 of a class",
    "rank_inter": "Inter-class effective rank on fixed images",
}
ENTROPIES = {name.replace("-", "_"): title for name, title in INFORMATION.items()}
LANGUAGE = {
    "ce": ("Cross-entropy", "nats a token"),
    "mce": ("Matrix cross-entropy", "nats a token"),
    "gap": ("Certificate of the matrix cross-entropy: upper less lower bound", "nats a token"),
    "head_rank": ("Effective rank of the head's rows", "effective rank"),
}
"""What a language model logs, with label smoothing in its cross-entropy where the run has it: title and axis."""

NO_TERMS = {"step", "lr", "images_per_s", "matrix_entropy", *LOGGED, *RANKS, *ENTROPIES}
"""What a log line holds besides the terms whose sum is the loss."""

HOW_TO_READ = (
    "A colour is a backbone, a dash another seed of it; the number beside a name is the last of its line. A click on a "
    "name switches its line off and on. Point at a line for run, seed and step; drag to move, Shift and wheel to zoom, "
    "double click for the whole."
)


def section(folder: RunsFolder) -> Section:
    """Losses of one method in one chart: those of two methods have no common scale. Ranks of all runs in one."""
    looks = Looks(row.name for row in folder.rows)
    body = group("Pretraining", pretraining(folder, looks))
    body += checkpoints(folder, looks)
    body += group("Detectors", detectors(folder, looks))
    body += group("Language models", language_models(folder, looks))
    if body:
        body = paragraph(HOW_TO_READ, "note") + body + first_of(MOST_ROWS, len(folder.rows), "rows")
    else:
        body = paragraph("No pretraining log (ROW/pretrain/log.jsonl) below this folder.", "notice")
    return Section(id="training", title="Training", body=body)


def group(name: str, charts: list[str]) -> str:
    """Charts under a heading; empty where there is none."""
    charts = [chart for chart in charts if chart]
    return f'<h3>{escape(name)}</h3>\n<div class="charts">\n{"".join(charts)}</div>\n' if charts else ""


def pretraining(folder: RunsFolder, looks: Looks) -> list[str]:
    """Charts of losses, one a method, and of ranks, from the logs of pretraining."""
    logs = {row.name: folder.log(row / "pretrain" / "log.jsonl") for row in folder.rows[:MOST_ROWS]}
    logs = {name: log for name, log in logs.items() if log}
    methods: dict[str, list[Series]] = {}
    for name, log in logs.items():
        config = folder.yaml(folder.path / name / "pretrain" / "config.yaml")
        values = numbers([{"step": entry.get("step"), "loss": loss(entry)} for entry in log], "step", "loss")
        methods.setdefault(str(config.get("method", name)), []).append(series(name, values, looks))
    charts = []
    for method, losses in methods.items():
        title = f"Loss, {method_titles().get(method, method)}"
        charts.append(lines(losses, title=title, x="step", y="sum of its terms"))
    for key, title in RANKS.items():
        ranks = [series(name, numbers(log, "step", key), looks) for name, log in logs.items()]
        charts.append(lines(ranks, title=title, x="step", y="effective rank"))
    for key, title in ENTROPIES.items():
        entropies = [series(name, numbers(log, "step", key), looks) for name, log in logs.items()]
        charts.append(lines(entropies, title=f"{title[0].upper()}{title[1:]}, in a batch", x="step", y="nats, order 2"))
    return charts


def loss(entry: dict) -> float | None:
    """The sum of the terms of a log line, None where it has none."""
    terms = [value for key in entry if key not in NO_TERMS for (value,) in numbers([entry], key)]
    return sum(terms) if terms else None


def checkpoints(folder: RunsFolder, looks: Looks) -> str:
    """Ranks of kept checkpoints, from every curves.json (analysis/curves.py)."""
    parts, paths = [], folder.find("curves.json")
    for path in paths[:MOST_ROWS]:
        content = folder.json(path)
        with folder.expected(path):
            charts = []
            for metric, title in (SHOWN | INFORMATION).items():
                runs = []
                for name, points in content.get("runs", {}).items():
                    values = [{"step": point.get("step"), **point.get("values", {})} for point in points]
                    runs.append(series(name, numbers(values, "step", metric), looks))
                charts.append(lines(runs, title=title[0].upper() + title[1:], x="step", y=metric, points=True))
            parts.append(group(f"Kept checkpoints, {described(content.get('setting', {}))}", charts))
    return "".join(parts)


def described(setting: dict) -> str:
    """On which images and features the checkpoints were measured."""
    images, classes = setting.get("images", "?"), setting.get("classes")
    each = f", {images // classes} of each of {classes} classes" if classes else ""
    return f"{images} images{each}, {setting.get('layer', '?')} features"


def detectors(folder: RunsFolder, looks: Looks) -> list[str]:
    """Training losses of the detectors, a chart per protocol and benchmark."""
    groups: dict[str, list[Series]] = {}
    for row in folder.rows[:MOST_ROWS]:
        for path, stage, run in folder.stage_files(row, "metrics.json"):
            values = numbers(folder.log(path), "iteration", "total_loss")
            groups.setdefault(stage, []).append(series(run, values, looks))
    return [lines(runs, title=f"Loss, {name}", x="iteration", y="sum of its terms") for name, runs in groups.items()]


def language_models(folder: RunsFolder, looks: Looks) -> list[str]:
    """Losses and the rank of the head while language models were fine-tuned, a chart each."""
    logs = {row.name: folder.log(row / "language" / "log.jsonl") for row in folder.rows[:MOST_ROWS]}
    charts = []
    for key, (title, axis) in LANGUAGE.items():
        curves = [series(name, numbers(log, "step", key), looks) for name, log in logs.items()]
        charts.append(lines(curves, title=title, x="step", y=axis))
    return charts


def series(name: str, values: list[tuple[float, ...]], looks: Looks) -> Series:
    """A line of a chart, in the colour of its backbone and the dash of its seed."""
    backbone, seed = split_seed(name)
    about = {"backbone": backbone, "seed": seed}
    return Series(name=name, x=[x for x, _ in values], y=[y for _, y in values], look=looks.look(name), about=about)
