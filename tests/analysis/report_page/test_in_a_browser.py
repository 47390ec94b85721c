"""The report in a real headless browser: it sorts, opens, fits, reads in light and dark, and asks for nothing.

Needs Chromium: apt-get install -y --no-install-recommends chromium. Where BROWSER_TESTS=required, as in CI, its absence
is a failure; elsewhere these tests are skipped and say so.
"""

import json
import os
from pathlib import Path

import pytest

from analysis.report_page.charts import data
from analysis.results_table.quote import for_html
from runtime.command_line import printable

CONTRAST = """
(() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = channels(colour).slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = light(getComputedStyle(document.body).backgroundColor);
  const ratio = (e) => {
    const ink = light(getComputedStyle(e).color);
    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
  };
  const names = ["body", ".note", ".notice", "nav a", "td button", "caption", "tr.published td", "figcaption"];
  return Object.fromEntries(names.map((name) => [name, ratio(document.querySelector(name))]));
})()
"""
COLUMN = """
(() => {{
  const body = document.querySelectorAll("#coco_2017-moco-c4-1x tbody")[{body}];
  return [...body.rows].map((row) => row.cells[{place}].textContent.trim());
}})()
"""
HEAD = "#coco_2017-moco-c4-1x thead tr:last-child th:nth-child({}) button"
WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.fixture(scope="module")
def browser(browser_module, tmp_path_factory):
    if browser_module.find() is None:
        missing = "no Chromium here: apt-get install -y --no-install-recommends chromium"
        if os.environ.get("BROWSER_TESTS") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    opened = browser_module.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def test_a_click_on_a_head_sorts_each_part_of_the_table_by_its_numbers(browser, full_page):
    browser.open(full_page)
    browser.click(HEAD.format(5))  # method, recipe, epochs, AP50, AP
    assert browser.run(COLUMN.format(body=0, place=4)) == ["41.5 ± 0.7", "40.0", "26.0"]
    published = [float(value.split()[0]) for value in browser.run(COLUMN.format(body=1, place=4)) if value != "–"]
    assert len(published) > 5 and published == sorted(published, reverse=True)
    browser.click(HEAD.format(5))
    assert browser.run(COLUMN.format(body=0, place=4)) == ["26.0", "40.0", "41.5 ± 0.7"]
    assert browser.run(f"document.querySelector('{HEAD.format(5)}').closest('th').ariaSort") == "ascending"
    browser.click(HEAD.format(1))
    assert browser.run(COLUMN.format(body=0, place=0)) == ["BYOL", "Matrix-SSL", "random init"]
    assert browser.run("document.querySelectorAll('#coco_2017-moco-c4-1x [aria-sort]').length") == 1


def test_a_head_sorts_what_its_cells_mean(browser, full_page):
    browser.open(full_page)
    texts = ["9:59:59", "10:00:00", "41.0 ± 1.0 †", "-0.5", "1e-3", "12,000", "✓ done", "–"]
    worth = browser.run(f"{texts}.map((text) => worth({{textContent: text}}))")
    assert worth == [35999, 36000, 41, -0.5, 0.001, 12000, "✓ done", None]


def test_a_number_opens_its_records_by_mouse_and_by_keyboard(browser, full_page):
    browser.open(full_page)
    browser.click("td[data-cell*='matrix_ssl/'] button")
    shown = browser.run("document.querySelector('dialog[open]').innerText")
    assert "sha-matrix_ssl-0" in shown and "sha-matrix_ssl-1" in shown and "abc123" in shown
    browser.press("Escape")
    assert browser.run("document.querySelector('dialog[open]')") is None
    browser.run("document.querySelector('tr.published td[data-cell] button').focus()")
    browser.press("Enter")
    assert "source" in browser.run("document.querySelector('dialog[open]').innerText")


def test_everything_that_acts_is_reached_by_the_tab_key_and_shows_it(browser, full_page):
    browser.open(full_page)
    seen = set()
    for _ in range(40):
        browser.press("Tab")
        seen.add(browser.run("document.activeElement.className + ' ' + document.activeElement.tagName"))
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") != "none"
    assert {"skip A", " A", "scroll DIV", " BUTTON"} <= seen


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_nothing_sticks_out_nothing_complains_nothing_is_fetched(browser, full_page, width, dark):
    browser.open(full_page, width=width, dark=dark)
    browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    content, window = browser.run(WIDTHS)
    assert content <= window <= width
    assert browser.run("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    drawn(browser)
    assert browser.complaints() == [] and browser.requests() == [full_page.resolve().as_uri()]
    low = {name: ratio for name, ratio in browser.run(CONTRAST).items() if ratio < 4.5}
    assert not low, f"too little contrast (WCAG AA asks for 4.5): {low}"


def drawn(browser) -> int:
    """Draws every chart, in view or not; how many there are."""
    browser.run("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    return browser.run("Promise.all(charts.map(draw)).then((drawn) => drawn.length)")


LINES = "document.querySelectorAll('.chart[data-group^=Spectrum] svg .mark-line path').length"


def test_a_click_on_a_name_switches_its_line_off_and_on(browser, full_page):
    browser.open(full_page)
    assert drawn(browser) > 5 and browser.run("charts.every((chart) => chart.querySelector('[aria-label]'))")
    name = "ul.legend[data-group^=Spectrum] li[data-name=byol-demo-seed0] button"
    for lines, pressed in ((3, "false"), (4, "true")):
        browser.click(name)
        browser.run("Promise.all(charts.map((chart) => chart.view.runAsync())).then(() => 1)")
        assert browser.run(LINES) == lines
        assert browser.run(f"document.querySelector('{name}').ariaPressed") == pressed


def test_a_point_says_its_run_seed_and_step(browser, full_page):
    browser.open(full_page)
    drawn(browser)
    browser.point_at(".chart[data-group='Loss, Matrix-SSL'] svg .mark-symbol path:nth-child(100)")
    browser.run("new Promise((done) => setTimeout(done, 200)).then(() => 1)")
    shown = browser.run("document.querySelector('.vg-tooltip').innerText")
    assert "matrix_ssl-demo-seed0" in shown and "seed" in shown and "step" in shown


def test_names_full_of_markup_run_nothing(browser, record, runs_of, tmp_path, monkeypatch):
    from analysis import report
    from analysis.report_page import cost

    monkeypatch.setattr(cost, "networks", lambda folder: ([], []))
    evil = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 1</script>\""
    path = tmp_path / "report.html"
    runs = runs_of([record(variant=evil, commit=evil)])
    log = runs / f"row {evil.replace('/', '')}" / "pretrain" / "log.jsonl"
    log.parent.mkdir(parents=True)
    log.write_text('{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 1.0}\n')
    path.write_text(report.page(runs, title=evil), encoding="utf-8")
    browser.open(path)
    assert drawn(browser) == 1
    browser.click(".chart svg .mark-symbol path")
    browser.click("td[data-cell] button")
    assert browser.run("document.querySelector('dialog[open]').innerText").count("window.hacked") >= 2
    assert browser.run("window.hacked") is None and browser.complaints() == []


def test_every_pair_of_hostile_pieces_is_the_text_that_it_is(browser, module_at, tmp_path):
    """As text, as an attribute and as a value for the page's script."""
    fragments = module_at(Path(__file__).parents[1] / "results_table" / "test_quote.py").FRAGMENTS
    names = [first + second for first in fragments for second in fragments]
    rows = "".join(f'<tr><td title="{for_html(name)}">{for_html(name)}</td></tr>' for name in names)
    page = f"<!doctype html><meta charset=utf-8><table>{rows}</table>{data(names)}<p id=end>"
    (tmp_path / "names.html").write_text(page, encoding="utf-8")
    browser.open(tmp_path / "names.html")
    shown = ["\n".join(map(printable, name.split("\n"))) for name in names]
    assert browser.run("[...document.querySelectorAll('td')].map((cell) => cell.textContent)") == shown
    assert browser.run("[...document.querySelectorAll('td')].map((cell) => cell.title)") == shown
    values = "JSON.parse(document.querySelector('script').textContent)"
    assert browser.run(f"JSON.stringify({values}) === JSON.stringify({json.dumps(names)})") is True
    assert browser.run("document.querySelectorAll('*').length") == 8 + 2 * len(names)
    assert not browser.complaints() and len(browser.requests()) == 1
