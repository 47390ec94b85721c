"""Effective rank against a score of transfer, a point per pretrained backbone."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.figures.palette import Look
from analysis.figures.save import save
from analysis.figures.specs import Series, scatter_chart
from analysis.measures.correlation import FEWEST, Correlation, correlate
from analysis.results_table.measurements import Measurement, unique
from analysis.results_table.model import Column, Row
from pretrain.backbones import USUAL

RANKS = {
    "rank-intra-cov": "intra-class effective rank, cov",
    "rank-inter-cov": "inter-class effective rank, cov",
    "rank-total-cov": "effective rank, cov",
    "rankme": "RankMe",
}
"""Measures of the representation, from left to right; all over covariance eigenvalues but RankMe."""

SCORES = {"bbox": "AP", "segm": "AP", "keypoints": "AP", "classification": "top1"}
"""Task -> the metric that stands for it."""

TASKS = (*SCORES, "representation")
"""Those with a backbone; a language model has none."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One backbone: the means over ``seeds`` of its rank and of its score."""

    label: str
    rank: float
    score: float
    seeds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One rank against one score."""

    rank: str
    score: str
    points: tuple[Point, ...]
    correlation: Correlation | None

    @property
    def verdict(self) -> str:
        if self.correlation:
            return self.correlation.text
        few = len(self.points) < FEWEST
        return f"too few rows (n = {len(self.points)})" if few else f"no order: one value for all {len(self.points)}"


def panels(found: Sequence[Measurement]) -> list[Panel]:
    """A panel for each rank and each score that some backbone has both of; those of detection first."""
    ranks: dict[str, dict[Row, dict[int, float]]] = {}
    scores: dict[str, dict[Row, dict[int, float]]] = {}
    ours = [entry for entry in found if entry.record.source == "measured" and entry.record.task in TASKS]
    for entry in sorted(ours, key=lambda e: (_order(e.record), e.record.benchmark, e.record.protocol, e.version)):
        record = entry.record
        row = Row.of(entry)
        if record.task == "representation" and record.metric in RANKS:
            layer = record.protocol.removeprefix("features-")
            name = f"{RANKS[record.metric]} ({record.benchmark}, {layer})"
            ranks.setdefault(name, {}).setdefault(row, {})[record.seed] = record.value
        elif SCORES.get(record.task) == record.metric:
            column = Column.of(entry)
            protocol = "" if record.task == "classification" else f", {column.versioned}"
            name = f"{column.name} ({record.benchmark}{protocol})"
            scores.setdefault(name, {}).setdefault(row, {})[record.seed] = record.value
    result = []
    for score, above in scores.items():
        for rank, along in ranks.items():
            points = [
                _point(row, along[row], above[row]) for row in sorted(along.keys() & above, key=lambda r: r.sort_key)
            ]
            points = [point for point in points if point.seeds]
            both = correlate([p.rank for p in points], [p.score for p in points])
            if points:
                result.append(Panel(rank=rank, score=score, points=tuple(points), correlation=both))
    return result


def _order(record) -> tuple:
    names = list(RANKS)
    return TASKS.index(record.task), names.index(record.metric) if record.metric in names else 0


def _point(row: Row, along: dict[int, float], above: dict[int, float]) -> Point:
    seeds = tuple(sorted(along.keys() & above))
    means = [statistics.fmean(values[seed] for seed in seeds) if seeds else 0.0 for values in (along, above)]
    network = "" if row.backbone == USUAL else row.backbone
    label = ", ".join(part for part in (row.label, network, f"{row.epochs} epochs" if row.epochs else "") if part)
    return Point(label=label, rank=means[0], score=means[1], seeds=seeds)


def draw(made: Sequence[Panel], stem: Path) -> list[Path]:
    """A line of panels per score, a column per rank."""
    numbers = {label: k for k, label in enumerate(unique(point.label for panel in made for point in panel.points))}
    charts = []
    for panel in made:
        series = [
            Series(name=point.label, x=[point.rank], y=[point.score], look=Look(numbers[point.label]))
            for point in panel.points
        ]
        spec = scatter_chart(series, title=panel.verdict, x=panel.rank, y=panel.score)
        charts.append((panel.verdict.replace("), K", ")\nK"), spec))
    return save(charts, stem, columns=len(unique(panel.rank for panel in made)))
