"""Hostile names: each quoter's language shows them as they are and does nothing else with them."""

import contextlib
import csv
import html
import html.parser
import io
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from analysis.results_table.quote import LATEX, for_csv, for_html, for_latex, for_markdown
from runtime.command_line import printable

FRAGMENTS = [
    "<script>alert(1)</script>",
    '" onload="x',
    "'",
    "&lt;",
    "\\",
    "\\input{/etc/passwd}",
    "$x^2$",
    "%",
    "\r\n",
]
FRAGMENTS += ["=1+1", "@SUM(A1)", "-2+3", "\t=1", "|", "[a](javascript:x)", "![i](x)", "[a]: x", "**", "__", "`", "---"]
FRAGMENTS += [
    "# ",
    "1. ",
    "    ",
    "http://x.y",
    "www.x.y",
    "&#60;",
    "\x1b[31m",
    "\x00",
    "\u202e",
    "\udc80",
    "−",
    "γ",
    "''",
]
NAMES = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=8), max_size=6).map("".join)
TRIED = settings(max_examples=100)


class Parsed(html.parser.HTMLParser):
    """Tags, attributes and text of a fragment."""

    def __init__(self, source: str):
        super().__init__(convert_charrefs=True)
        self.tags, self.text = [], ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, attributes))

    def handle_data(self, data):
        self.text += data


@TRIED
@given(NAMES)
def test_html_reads_back_as_text_and_as_an_attribute(name):
    shown = "\n".join(map(printable, name.split("\n")))
    parsed = Parsed(f'<td title="{for_html(name)}">{for_html(name)}</td>')
    assert parsed.tags == [("td", [("title", shown)])] and parsed.text == shown
    for_html(name).encode()  # no half of a character


def unquoted_latex(source: str) -> str:
    """What LaTeX prints for a quoted text; asserts that nothing in it but the known commands acts."""
    signs = {command: sign for sign, command in LATEX.items()}
    commands = "|".join(re.escape(command) for command in sorted(signs, key=len, reverse=True))
    text = ""
    for command, plain in re.findall(rf"({commands}|\{{\}})|(.)", source, re.DOTALL):
        assert plain not in set("\\{}$&#_^~%"), source
        text += signs.get(command, "") + plain
    return text


@TRIED
@given(NAMES)
@example("[2pt]")
@example("a--b---c,,''")
def test_latex_reads_back_and_nothing_acts(name):
    source = for_latex(name)
    assert unquoted_latex(source) == printable(name).replace("–", "--") or "–" in name
    assert not source.startswith(("[", "*")) and "''" not in source


@TRIED
@given(NAMES)
def test_csv_reads_back_and_no_spreadsheet_computes_it(name):
    stream = io.StringIO()
    csv.writer(stream).writerow([for_csv(name), "next"])
    [[cell, _]] = csv.reader(io.StringIO(stream.getvalue()))
    assert cell == printable(name) or cell == f"'{printable(name)}"
    assert cell.strip()[:1] not in set("=+-@") or re.fullmatch(r"[-+\d. eE]*", cell)


def test_numbers_of_a_csv_stay_numbers():
    assert [for_csv(value) for value in (-0.5, "-0.5000 -0.3000", "1e-05", 3)] == [
        *("-0.5", "-0.5000 -0.3000", "1e-05", "3")
    ]


def unquoted_markdown(source: str) -> str:
    return html.unescape(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", source))


@TRIED
@given(NAMES)
@example("_a_ b_c __d__")
@example("a]: b")
@example("&\x1f")
def test_markdown_reads_back_and_nothing_acts(name):
    source = for_markdown(name)
    assert unquoted_markdown(source) == printable(name)
    active = re.sub(r"\\.", "\0", source)
    assert not set("*`|<~$") & set(active) and not re.match(r"( |#|>|[-+=]|\d+[.)](\s|$))", source)
    assert not re.search(r"\][(\[:]|://|www\.", active, re.IGNORECASE)
    assert not re.search(r"&(?!#\d+;)[#\w]", active)


def words(text: str) -> list[str]:
    """A line as HTML shows it: spaces are one space."""
    return text.split()


def renderers():
    """Markdown as GitHub's rules read it, and as mkdocs does; what is not installed is left out."""
    with contextlib.suppress(ModuleNotFoundError):
        import markdown_it

        yield markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render
    with contextlib.suppress(ModuleNotFoundError):
        import markdown

        yield lambda source: markdown.markdown(source, extensions=["tables", "sane_lists"])


TABLE = ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]


@TRIED
@given(NAMES)
@example("a|b")
@example("![i](x)")
@example("<b>*x*</b>")
@example("[a]: x")
def test_every_renderer_of_markdown_shows_the_name_alone(name):
    shown, cell = words(printable(name)), for_markdown(name)
    for render in renderers():
        paragraph = Parsed(render(f"a {cell}"))
        assert [tag for tag, _ in paragraph.tags] == ["p"] and words(paragraph.text) == words(f"a {printable(name)}")
        start = Parsed(render(cell))
        assert {tag for tag, _ in start.tags} <= {"p"} and words(start.text) == shown
        table = Parsed(render(f"| {cell} | x |\n| --- | --- |\n| {cell} | y |\n"))
        assert [tag for tag, _ in table.tags] == TABLE and words(table.text) == [*shown, "x", *shown, "y"]
