"""What the representations look like: rank against AP, spectra, t-SNE."""

import math
from collections.abc import Sequence

from analysis.figures.palette import Look, Looks, split_seed
from analysis.figures.rank_against_ap import Panel
from analysis.figures.specs import Series, point_cloud, scatter_chart
from analysis.measures.correlation import FEWEST
from analysis.report_page.charts import figure, keys, lines
from analysis.report_page.markup import MOST_ROWS, Section, details, escape, first_of, grid, paragraph
from analysis.report_page.ranks import ranks
from analysis.report_page.runs_folder import RunsFolder
from analysis.results_table.measurements import unique

OPEN = 2
"""Scores that are shown at once against every rank; the others open below them."""

MOST_PANELS = 24
"""Panels of t-SNE and scatters of one kind in a page."""

MOST_POINTS = 2000
"""Of a panel of t-SNE; of more, evenly chosen ones are drawn."""


def against(panels: Sequence[Panel]) -> Section:
    """A scatter per rank and score with its coefficients; while no pair has enough rows for one, a line says so."""
    if not panels:
        body = paragraph(
            "No backbone has both a rank and a score yet; the stages effective_rank and transfer measure them.",
            "notice",
        )
    else:
        body = scatters(panels)
        if not any(panel.correlation for panel in panels):
            most = max(len(panel.points) for panel in panels)
            few = f"Too few rows for a rank correlation: n = {most}, at least {FEWEST} are needed."
            body = paragraph(few, "notice") + body
    return Section(id="rank-against-ap", title="Rank against AP", body=body)


def scatters(panels: Sequence[Panel]) -> str:
    """The scatters, score by score, and all coefficients in a table."""
    labels = unique(point.label for panel in panels for point in panel.points)
    numbers = {label: number for number, label in enumerate(labels)}
    body = ""
    if len(labels) <= MOST_ROWS:
        body = keys([Series(name=label, x=(), y=(), look=Look(k)) for label, k in numbers.items()], SCATTERS)
    for number, score in enumerate(unique(panel.score for panel in panels[:MOST_PANELS])):
        charts = "".join(chart(panel, numbers) for panel in panels[:MOST_PANELS] if panel.score == score)
        charts = f'<div class="charts">\n{charts}</div>\n'
        body += f"<h3>{escape(score)}</h3>\n{charts}" if number < OPEN else details(score, charts)
    body += first_of(MOST_PANELS, len(panels), "scatters")
    table = grid(
        ["score", "rank", "rows", "Spearman", "p", "Kendall", "p"],
        [line(panel) for panel in panels],
        caption="Rank correlation over backbones; p: share of all orders of the rows that agree at least as much",
        words=2,
    )
    body += details("All coefficients", table)
    return body + paragraph(
        "A point is a backbone, the mean over its seeds. Of 3 rows no p is below 0.33, of 4 none below 0.08.", "note"
    )


SCATTERS = "rank against AP"


def chart(panel: Panel, numbers: dict[str, int]) -> str:
    """The points of a panel, and the line that says how they correlate."""
    x, y = panel.rank.partition(" (")[0], panel.score.partition(" (")[0]
    series = []
    for point in panel.points[:MOST_POINTS]:
        about = {"seeds": ", ".join(map(str, point.seeds))}
        look = Look(numbers[point.label])
        series.append(Series(name=point.label, x=[point.rank], y=[point.score], look=look, about=about))
    title = f"against {panel.rank}"
    note = f"<figcaption>{escape(panel.verdict)}</figcaption>"
    return figure(scatter_chart(series, title=title, x=x, y=y), title, note, group=SCATTERS)


def line(panel: Panel) -> list[str]:
    """A panel's correlation as a line of a table."""
    c = panel.correlation
    if c is None:
        return [panel.score, panel.rank, str(len(panel.points)), panel.verdict.partition(" (")[0], "–", "–", "–"]
    figures = [f"{c.spearman:+.2f}", f"{c.p_spearman:.2g}", f"{c.kendall:+.2f}", f"{c.p_kendall:.2g}"]
    return [panel.score, panel.rank, str(c.n), *figures]


def section(folder: RunsFolder) -> Section:
    """Effective ranks with what limits them, eigenvalues of every row, and the t-SNE panels of every picture."""
    body = ranks(folder) + spectra(folder) + embeddings(folder)
    if not body:
        body = paragraph(
            "No ranks, spectra or t-SNE yet; the stages effective_rank, spectra, tsne make them.", "notice"
        )
    return Section(id="representations", title="Ranks, spectra and t-SNE", body=body)


def spectra(folder: RunsFolder) -> str:
    """One chart per benchmark: shares of the variance over the rank of the eigenvalue, both logarithmic."""
    groups: dict[str, list[Series]] = {}
    looks = Looks(row.name for row in folder.rows)
    for row in folder.rows[:MOST_ROWS]:
        for path, stage, run in folder.stage_files(row, "spectra.json"):
            content = folder.json(path)
            with folder.expected(path):
                eigenvalues = [value for value in content.get("eigenvalues", []) if 0 < value < math.inf]
                total = sum(eigenvalues)
                shares = [value / total for value in eigenvalues]
                backbone, seed = split_seed(run)
                about = {"backbone": backbone, "seed": seed}
                ordinals = range(1, len(shares) + 1)
                one = Series(name=run, x=ordinals, y=shares, look=looks.look(run), about=about)
                groups.setdefault(f"{stage}, {content.get('n', '?')} images", []).append(one)
    x, y = "rank of the eigenvalue", "share of the variance"
    charts = [
        lines(series, title=f"Spectrum, {name}", x=x, y=y, log=True, last=False) for name, series in groups.items()
    ]
    return f'<h3>Spectra</h3>\n<div class="charts">\n{"".join(charts)}</div>\n' if any(charts) else ""


def embeddings(folder: RunsFolder) -> str:
    """Every t-SNE or UMAP whose coordinates are there, as charts, so that the panels flow with the page."""
    parts = []
    paths = [*folder.find("tsne-*.json"), *folder.find("umap-*.json")]
    for path in paths[:MOST_PANELS]:
        content = folder.json(path)
        if {"panels", "labels", "classes", "how"} <= content.keys():
            with folder.expected(path):
                parts.append(panels_of(content, folder.name(path)))
    return "".join(parts) + first_of(MOST_PANELS, len(paths), "pictures")


def panels_of(content: dict, name: str) -> str:
    """The panels of one file under their legend."""
    labels, classes = content["labels"], content["classes"]
    shown = sorted(set(labels))
    title = f"{len(shown)} classes, {len(labels)} images"
    step = -(-len(labels) // MOST_POINTS)
    chosen = range(0, len(labels), step)
    figures = []
    for panel in content["panels"][:MOST_PANELS]:
        if len(panel["points"]) != len(labels):
            raise ValueError(f"{len(panel['points'])} points for {len(labels)} labels")
        series = []
        for k in shown:
            points = [panel["points"][i] for i in chosen if labels[i] == k]
            x, y = [float(x) for x, _ in points], [float(y) for _, y in points]
            series.append(Series(name=str(classes[k]), x=x, y=y, look=Look(k)))
        note = f"<figcaption>trustworthiness {panel['trustworthiness']:.3f}</figcaption>"
        figures.append(figure(point_cloud(series, title=panel["title"]), panel["title"], note, group=name))
    legend = keys([Series(name=str(classes[k]), x=(), y=(), look=Look(k)) for k in shown], name)
    drawn = f"; {len(chosen)} of them are drawn" if step > 1 else ""
    note = paragraph(f"{content['how']}; the same images in every panel{drawn}, {name}", "note")
    return f'<h3>{escape(title)}</h3>\n{note}{legend}<div class="charts small">\n{"".join(figures)}</div>\n'
