"""The page around the sections: its head, contents, style and behaviour, all inside one file."""

from collections.abc import Sequence
from pathlib import Path

from analysis.report_page.markup import Section, escape
from analysis.results_table.html import STYLE

FOLDER = Path(__file__).parent


def document(title: str, about: str, sections: Sequence[Section]) -> str:
    """A page that needs no other file and no network.

    Args:
        about: HTML below the title.
    """
    style = STYLE + (FOLDER / "style.css").read_text(encoding="utf-8")
    behaviour = (FOLDER / "behaviour.js").read_text(encoding="utf-8")
    contents = "".join(f'<li><a href="#{part.id}">{escape(part.title)}</a></li>' for part in sections)
    body = "".join(
        f'<section id="{part.id}" aria-labelledby="{part.id}-title">\n'
        f'<h2 id="{part.id}-title">{escape(part.title)}</h2>\n{part.body}</section>\n'
        for part in sections
    )
    # The policy makes a promise of "no network": a browser would refuse to load anything that slipped in.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n'
        f'<a class="skip" href="#main">Skip to the results</a>\n<header>\n<h1>{escape(title)}</h1>\n{about}'
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n</header>\n<main id="main">\n{body}</main>\n'
        '<dialog id="provenance" aria-label="Where this number comes from"><form method="dialog">'
        f"<button>Close</button></form><div></div></dialog>\n<script>{behaviour}</script>\n</body>\n</html>\n"
    )
