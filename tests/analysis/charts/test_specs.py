"""Charts: where a value lies, what stands beside the axes, and which points a line keeps."""

import math
import re

import pytest

from analysis.report_page.axis import Axis
from analysis.report_page.chart import MOST_POINTS, Series, cloud, label, lines, thinned
from analysis.report_page.palette import Palette


@pytest.mark.parametrize("values", [[0, 1], [0.001, 0.0017], [-3, 250_000], [5, 5], [0, 0]])
def test_ticks_are_round_few_and_inside(values):
    axis = Axis.over(values, 0, 100)
    ticks = axis.ticks
    assert 2 <= len(ticks) <= 9 and all(axis.low <= tick <= axis.high for tick in ticks)
    steps = {round(b - a, 9) for a, b in zip(ticks, ticks[1:], strict=False)}
    assert len(steps) == 1 and f"{steps.pop():.0e}"[0] in "125"


def test_a_logarithmic_axis_gives_every_decade_the_same_room():
    axis = Axis.over([1, 1000], 0, 300, log=True)
    assert [axis.place(tick) for tick in axis.ticks] == [0, 100, 200, 300]


def test_small_numbers_are_written_as_powers():
    assert [label(tick) for tick in (0, 250, 0.5, 0.001, 1e-4, -2e-5)] == ["0", "250", "0.5", "0.001", "1e-4", "-2e-5"]


def test_a_long_line_is_thinned_and_keeps_its_ends():
    long = Series(name="x", x=range(10_000), y=range(10_000))
    short = thinned(long, log=False)
    assert len(short.x) <= MOST_POINTS + 1 and (short.x[0], short.x[-1]) == (0, 9999)


def test_a_thinned_spectrum_keeps_its_first_eigenvalues_one_by_one():
    spectrum = Series(name="x", x=range(1, 2049), y=[1 / k for k in range(1, 2049)])
    short = thinned(spectrum, log=True)
    assert short.x[:20] == list(range(1, 21)) and short.x[-1] == 2048 and len(short.x) <= MOST_POINTS + 1


def test_what_cannot_be_drawn_is_left_out():
    drawn = lines([Series(name="x", x=[1, 2, 3], y=[1.0, math.nan, 3.0])], title="t", x="a", y="b")
    [path] = re.findall(r'class="line[^>]* d="([^"]*)"', drawn)
    assert path.count("L") == 1 and "nan" not in drawn
    assert lines([Series(name="x", x=[1], y=[math.inf])], title="t", x="a", y="b") == ""


def test_seeds_of_a_backbone_share_its_colour_and_differ_in_their_dash():
    palette = Palette(["byol-demo-seed0", "byol-demo-seed1", "mec-demo-seed0"])
    assert [palette.look(name) for name in palette.names] == [(0, 0), (0, 1), (1, 0)]
    assert palette.look("another") == (2, 0)


def test_a_cloud_keeps_its_shape():
    """A line of points 100 wide and 1 high stays a hundred times as wide as high."""
    picture = cloud([Series(name="x", x=[0, 50, 100], y=[0, 1, 0])], title="t", note="n")
    [points] = re.findall(r'<path class="mark c0" d="([^"]*)"', picture)
    places = [(float(a), float(b)) for a, b in re.findall(r"M([-.0-9]+) ([-.0-9]+)", points)]
    (left, low), (_, high), (right, _) = places
    assert right - left > 200 and low - high == pytest.approx((right - left) / 100, abs=0.11)
    assert (left + right) / 2 == pytest.approx(120, abs=0.1)
