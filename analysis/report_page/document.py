"""The page around the sections: its head, contents, style and behaviour, all inside one file."""

from collections.abc import Sequence
from pathlib import Path

from analysis.figures.palette import DARK, LIGHT
from analysis.figures.theme import PAGE
from analysis.report_page.charts import data
from analysis.report_page.markup import Section, escape
from analysis.results_table.html import STYLE

FOLDER = Path(__file__).parent

CHART = '<div class="chart"'

NO_SCRIPT = '<noscript><p class="notice">Charts are drawn by JavaScript, which is switched off here.</p></noscript>\n'

# The policy makes a promise of "no network": a browser would refuse to load anything that slipped in.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def document(title: str, about: str, sections: Sequence[Section]) -> str:
    """A page that needs no other file and no network; the library of charts is in it if there is a chart.

    Args:
        about: HTML below the title.
    """
    contents = "".join(f'<li><a href="#{part.id}">{escape(part.title)}</a></li>' for part in sections)
    body = "".join(
        f'<section id="{part.id}" aria-labelledby="{part.id}-title">\n'
        f'<h2 id="{part.id}-title">{escape(part.title)}</h2>\n{part.body}</section>\n'
        for part in sections
    )
    has_charts = CHART in body
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{style()}</style>\n</head>\n<body>\n'
        f'<a class="skip" href="#main">Skip to the results</a>\n<header>\n<h1>{escape(title)}</h1>\n{about}'
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n</header>\n<main id="main">\n'
        f"{NO_SCRIPT if has_charts else ''}{body}</main>\n"
        '<dialog id="provenance" aria-label="Where this number comes from"><form method="dialog">'
        f"<button>Close</button></form><div></div></dialog>\n{scripts(has_charts)}</body>\n</html>\n"
    )


def style() -> str:
    """The style of tables, the colours of charts on light and dark ground, and the page's own."""
    light = "".join(f"--s{k}:{colour};" for k, colour in enumerate(LIGHT))
    dark = "".join(f"--s{k}:{colour};" for k, colour in enumerate(DARK))
    colours = (
        f":root{{{light}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n@media print{{:root{{{light}}}}}\n"
    )
    classes = "".join(f".c{k}{{--c:var(--s{k})}}" for k in range(len(LIGHT)))
    return STYLE + colours + classes + (FOLDER / "style.css").read_text(encoding="utf-8")


def scripts(has_charts: bool) -> str:
    """The page's behaviour, and before it what draws charts."""
    library = ""
    if has_charts:
        from analysis.figures.save import javascript

        library = f'<div id="chart-config" hidden>{data(PAGE)}</div>\n<script>{javascript()}</script>\n'
    behaviour = (FOLDER / "behaviour.js").read_text(encoding="utf-8")
    return f"{library}<script>{behaviour}</script>\n"
