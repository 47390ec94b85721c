"""Effective ranks as the page shows them: with their n, their interval, and a mark where n decides."""

from collections.abc import Collection

from analysis.report_page.markup import MOST_ROWS, details, first_of, grid, paragraph
from analysis.report_page.runs_folder import RunsFolder

RANKS = {"rank-intra": "within classes", "rank-inter": "between classes", "rank-total": "all images"}
"""Kinds of effective rank, and where they look."""

READING = (
    "Over covariance eigenvalues (cov, with a 95% bootstrap interval) and over singular values (sv): two definitions "
    "that do not compare. Of n images no rank exceeds n − 1, and of K classes none between them K − 1; a dagger stands "
    "where a value reads off n. Compare rows at one n."
)


def ranks(folder: RunsFolder) -> str:
    """One table per benchmark of the effective ranks, with their n and intervals; below it what n decides."""
    groups: dict[str, list[list[str]]] = {}
    limits: list[str] = []
    for row in folder.rows[:MOST_ROWS]:
        for path, stage, run in folder.stage_files(row, "effective_rank.json"):
            files = [folder.json(path), folder.json(path.with_name("spectra.json"))]
            with folder.expected(path):
                limits += [f"{run}: {line}." for content in files for line in content.get("warnings", [])]
                limited = {metric for content in files for metric in content.get("limited", [])}
                counts = [str(files[0].get("n", "?")), str(files[0].get("n_per_class") or "–")]
                groups.setdefault(stage, []).append([run, *counts, *rank_cells(files[0], limited)])
    heads = [f"{where}, {over}" for where in RANKS.values() for over in ("cov", "sv")]
    body = "".join(
        grid(["row", "images", "of each class", *heads], lines, caption=f"Effective ranks, {title}")
        for title, lines in groups.items()
    )
    if body:
        body = f"<h3>Effective ranks</h3>\n{body}" + first_of(MOST_ROWS, len(folder.rows), "rows")
        body += paragraph(READING, "note")
    if limits:
        count = f"{len(limits)} value{'s' if len(limits) > 1 else ''} limited by the number of images"
        body += details(count, "".join(map(paragraph, limits[:MOST_ROWS])) + first_of(MOST_ROWS, len(limits), "values"))
    return body


def rank_cells(content: dict, limited: Collection[str]) -> list[str]:
    """Each rank over covariance eigenvalues with its interval, and over singular values; a dagger where n decides."""
    values, intervals = content.get("values", {}), content.get("intervals", {})
    cells = []
    for metric in (f"{kind}-{over}" for kind in RANKS for over in ("cov", "sv")):
        text = f"{values[metric]:.4g}" if metric in values else "–"
        if metric in intervals:
            low, high = intervals[metric]
            text += f" ({low:.4g} to {high:.4g})"
        cells.append(text + (" †" if metric in limited else ""))
    return cells
