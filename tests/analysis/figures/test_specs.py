"""Charts: which points a line keeps, what a name looks like, and that a specification draws."""

import json
import math
import xml.dom.minidom

import pytest

from analysis.figures.palette import DARK, DASHES, LIGHT, Looks
from analysis.figures.save import save
from analysis.figures.specs import MOST_POINTS, Look, Series, line_chart, point_cloud, thinned

AXES = {"title": "t", "x": "step", "y": "rank"}


def test_a_long_line_is_thinned_and_keeps_its_ends():
    short = thinned(Series(name="x", x=range(10_000), y=range(10_000)))
    assert len(short.x) <= MOST_POINTS + 1 and (short.x[0], short.x[-1]) == (0, 9999)


def test_a_thinned_spectrum_keeps_its_first_eigenvalues_one_by_one():
    spectrum = Series(name="x", x=range(1, 2049), y=[1 / k for k in range(1, 2049)])
    short = thinned(spectrum, log=True)
    assert short.x[:20] == list(range(1, 21)) and short.x[-1] == 2048 and len(short.x) <= MOST_POINTS + 1


def test_what_cannot_be_drawn_is_left_out():
    spec = line_chart([Series(name="a", x=[1, 2, 3], y=[1.0, math.nan, 3.0])], **AXES)
    assert spec["data"]["values"] == [{"name": "a", "x": [1, 3], "y": [1.0, 3.0]}]
    assert line_chart([Series(name="a", x=[1], y=[math.inf])], **AXES) is None
    assert line_chart([Series(name="a", x=[1, 2], y=[0.0, -1.0])], **AXES, log=True) is None


def test_seeds_of_a_backbone_share_its_colour_and_differ_in_their_dash():
    looks = Looks(["byol-demo-seed0", "byol-demo-seed1", "mec-demo-seed0"])
    assert [looks.look(name) for name in looks.dashes] == [(0, 0), (0, 1), (1, 0)]
    assert looks.look("another") == (2, 0)
    assert len(LIGHT) == len(DARK) and Look(len(LIGHT), 0).pattern == DASHES[1]


def test_a_cloud_keeps_its_shape():
    """A line of points 100 wide and 1 high: a unit across is as long as a unit up."""
    spec = point_cloud([Series(name="x", x=[0, 50, 100], y=[0, 1, 0])], title="t")
    across, up = (spec["encoding"][axis]["scale"]["domain"] for axis in "xy")
    assert across[1] - across[0] == pytest.approx(up[1] - up[0]) and across[0] < 0 < 100 < across[1]


NAMES = [
    "_hidden",
    "a$b^{c}$",
    "</text><script>",
    "\x1b[31mred",
    "\udcff",
    "two\nlines",
    "x" * 500,
    "\\$",
    "byol-seed0",
]


def test_a_chart_is_drawn_without_a_browser_with_hostile_names(tmp_path):
    series = [Series(name=name, x=[1, 2], y=[k, 2 + k], look=Look(k)) for k, name in enumerate(NAMES)]
    panels = [(NAMES[3], line_chart(series, **AXES))] * 2
    svg, png = save(panels, tmp_path / "lines", caption=NAMES[2])
    drawn = xml.dom.minidom.parse(str(svg)).getElementsByTagName("text")
    texts = ["".join(node.data for node in element.childNodes) for element in drawn]
    assert {"_hidden", "a$b^{c}$", "</text><script>", "\\x1b[31mred", "\\udcff", "two\\nlines"} <= set(texts)
    assert texts.count("byol-seed0") == 1  # one legend for both panels
    assert png.read_bytes().startswith(b"\x89PNG")


def test_values_survive_json_exactly_enough():
    spec = line_chart([Series(name="a", x=[1], y=[1 / 3])], **AXES)
    assert json.loads(json.dumps(spec))["data"]["values"][0]["y"] == [0.333333]
