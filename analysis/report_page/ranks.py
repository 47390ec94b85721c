"""Effective ranks as the page shows them: with their n, their interval, and a mark where n decides."""

from collections.abc import Collection

from analysis.report_page.markup import details, grid, paragraph
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
    for row in folder.rows:
        for path in sorted(row.glob("*/effective_rank.json")):
            content = folder.json(path)
            both = (content, folder.json(path.with_name("spectra.json")))
            limits += [f"{row.name}: {line}." for one in both for line in one.get("warnings", [])]
            limited = {metric for one in both for metric in one.get("limited", [])}
            counts = [str(content.get("n", "?")), str(content.get("n_per_class") or "–")]
            groups.setdefault(path.parent.name, []).append([row.name, *counts, *rank_cells(content, limited)])
    heads = [f"{where}, {over}" for where in RANKS.values() for over in ("cov", "sv")]
    body = "".join(
        grid(["row", "images", "of each class", *heads], lines, caption=f"Effective ranks, {title}")
        for title, lines in groups.items()
    )
    if body:
        body = f"<h3>Effective ranks</h3>\n{body}" + paragraph(READING, "note")
    if limits:
        count = f"{len(limits)} value{'s' if len(limits) > 1 else ''} limited by the number of images"
        body += details(count, "".join(map(paragraph, limits)))
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
