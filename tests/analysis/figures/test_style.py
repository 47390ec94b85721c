"""Names from outside are drawn letter by letter: no formulas, no hidden entries, an SVG that can be read."""

import xml.dom.minidom

import matplotlib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figures.style import mark, plain, save

matplotlib.use("Agg")
NAMES = ["_hidden", "a$b^{c}$", "$x_{", "</text><script>", "\x1b[31mred", "\udcff", "two\nlines", "x" * 500, "\\$"]


def test_every_name_is_in_the_legend_of_the_picture(tmp_path):
    from matplotlib import pyplot

    figure, axes = pyplot.subplots()
    for k, name in enumerate(NAMES):
        axes.plot([0, 1], [k, k], label=plain(name), **mark(k))
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names)
    svg, png = save(figure, tmp_path / "picture")
    drawn = xml.dom.minidom.parse(str(svg)).getElementsByTagName("text")
    texts = ["".join(node.data for node in element.childNodes).strip() for element in drawn]
    assert len(names) == len(NAMES) and {"_hidden", "a$b^{c}$", "</text><script>", "two\\nlines"} <= set(texts)
    assert png.read_bytes().startswith(b"\x89PNG")


@settings(max_examples=100, derandomize=True, deadline=None, database=None)
@given(st.text())
def test_no_name_is_a_formula_or_longer_than_a_line(name):
    from matplotlib import cbook

    text = plain(name)
    assert not cbook.is_math_text(text) and not text.startswith("_") and text.replace(r"\$", "$").isprintable()
    assert len(text.replace(r"\$", "$")) <= 61


def test_colours_and_markers_come_again_after_ten():
    assert mark(0) == mark(10) and len({mark(k)["color"] for k in range(10)}) == 10


@pytest.mark.parametrize("name", ["cat", "Katze mit Hut", "猫"])
def test_an_ordinary_name_stays_as_it_is(name):
    assert plain(name) == name
