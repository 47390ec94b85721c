"""What the representations look like: rank against AP, spectra, t-SNE."""

from collections.abc import Sequence

from analysis.figures.rank_against_ap import Panel
from analysis.measures.correlation import FEWEST
from analysis.charts.palette import Look, Looks, split_seed
from analysis.charts.specs import Series, point_cloud, scatter_chart
from analysis.report_page.charts import figure, keys, lines
from analysis.report_page.markup import Section, details, escape, grid, paragraph
from analysis.report_page.ranks import ranks
from analysis.report_page.runs_folder import RunsFolder
from analysis.results_table.measurements import unique

OPEN = 2
"""Scores that are shown at once against every rank; the others open below them."""


def against(made: Sequence[Panel]) -> Section:
    """A scatter per rank and score with its coefficients; folded away while no pair has enough rows for one."""
    if not made:
        body = paragraph(
            "No backbone has both a rank and a score yet; the stages effective_rank and transfer measure them.",
            "notice",
        )
    elif any(panel.correlation for panel in made):
        body = scatters(made)
    else:
        most = max(len(panel.points) for panel in made)
        body = paragraph(f"Too few rows for a rank correlation: n = {most}, at least {FEWEST} are needed.", "notice")
        body += details("The points all the same", scatters(made))
    return Section(id="rank-against-ap", title="Rank against AP", body=body)


def scatters(made: Sequence[Panel]) -> str:
    """The scatters, score by score, and all coefficients in a table."""
    labels = unique([point.label for panel in made for point in panel.points])
    body = keys([Series(name=label, x=(), y=(), colour=k) for k, label in enumerate(labels)])
    for number, score in enumerate(unique([panel.score for panel in made])):
        charts = "".join(chart(panel, labels) for panel in made if panel.score == score)
        charts = f'<div class="charts">\n{charts}</div>\n'
        body += f"<h3>{escape(score)}</h3>\n{charts}" if number < OPEN else details(score, charts)
    table = grid(
        ["score", "rank", "rows", "Spearman", "p", "Kendall", "p"],
        [line(panel) for panel in made],
        caption="Rank correlation over backbones; p: share of all orders of the rows that agree at least as much",
        words=2,
    )
    body += details("All coefficients", table)
    return body + paragraph(
        "A point is a backbone, the mean over its seeds. Of 3 rows no p is below 0.33, of 4 none below 0.08.", "note"
    )


def chart(panel: Panel, labels: Sequence[str]) -> str:
    some = [
        Series(name=tip(point), x=[point.rank], y=[point.score], colour=labels.index(point.label))
        for point in panel.points
    ]
    note = f"<figcaption>{escape(panel.verdict)}</figcaption>"
    return scatter(
        some,
        title=f"against {panel.rank}",
        x=panel.rank.partition(" (")[0],
        y=panel.score.partition(" (")[0],
        note=note,
    )


def tip(point) -> str:
    return f"{point.label}: rank {point.rank:.4g}, score {point.score:.4g}, seeds {', '.join(map(str, point.seeds))}"


def line(panel: Panel) -> list[str]:
    c = panel.correlation
    if c is None:
        return [panel.score, panel.rank, str(len(panel.points)), panel.verdict.partition(" (")[0], "–", "–", "–"]
    figures = [f"{c.spearman:+.2f}", f"{c.p_spearman:.2g}", f"{c.kendall:+.2f}", f"{c.p_kendall:.2g}"]
    return [panel.score, panel.rank, str(c.n), *figures]


def representations(folder: RunsFolder) -> Section:
    """Effective ranks with what limits them, eigenvalues of every row, and the t-SNE panels of every picture."""
    body = ranks(folder) + spectra(folder) + panels(folder)
    if not body:
        body = paragraph(
            "No ranks, spectra or t-SNE yet; the stages effective_rank, spectra, tsne make them.", "notice"
        )
    return Section(id="representations", title="Ranks, spectra and t-SNE", body=body)


def spectra(folder: RunsFolder) -> str:
    """One chart per benchmark: shares of the variance over the rank of the eigenvalue, both logarithmic."""
    groups: dict[str, list[Series]] = {}
    palette = Palette(row.name for row in folder.rows)
    for row in folder.rows:
        for path in sorted(row.glob("*/spectra.json")):
            content = folder.json(path)
            eigenvalues = [value for value in content.get("eigenvalues", []) if value > 0]
            total = sum(eigenvalues)
            title = f"{path.parent.name}, {content.get('n', '?')} images"
            shares = [value / total for value in eigenvalues]
            colour, dash = palette.look(row.name)
            one = Series(name=row.name, x=range(1, len(shares) + 1), y=shares, colour=colour, dash=dash)
            groups.setdefault(title, []).append(one)
    charts = [
        lines(
            some,
            title=f"Spectrum, {title}",
            x="rank of the eigenvalue",
            y="share of the variance",
            log=True,
            last=False,
        )
        for title, some in groups.items()
    ]
    return f'<h3>Spectra</h3>\n<div class="charts">\n{"".join(charts)}</div>\n' if any(charts) else ""


def panels(folder: RunsFolder) -> str:
    """Every t-SNE or UMAP whose coordinates are there, drawn anew, so that the panels flow with the page."""
    parts = []
    for path in [*folder.find("tsne-*.json"), *folder.find("umap-*.json")]:
        content = folder.json(path)
        if not {"panels", "labels", "classes", "how"} <= content.keys():
            continue
        labels, classes = content["labels"], content["classes"]
        shown = sorted(set(labels))
        figures = []
        for panel in content["panels"]:
            some = [of_class(panel["points"], labels, k, classes[k]) for k in shown]
            note = f"trustworthiness {panel['trustworthiness']:.3f}"
            figures.append(cloud(some, title=panel["title"], note=note))
        legend = keys([Series(name=classes[k], x=(), y=(), colour=k) for k in shown])
        parts.append(f"<h3>{escape(f'{len(shown)} classes, {len(labels)} images')}</h3>\n")
        parts.append(paragraph(f"{content['how']}; the same images in every panel, {folder.name(path)}", "note"))
        parts.append(f'{legend}<div class="charts small">\n{"".join(figures)}</div>\n')
    return "".join(parts)


def of_class(points: list, labels: list[int], k: int, name: str) -> Series:
    mine = [point for point, label in zip(points, labels, strict=True) if label == k]
    return Series(name=name, x=[x for x, _ in mine], y=[y for _, y in mine], colour=k)
