"""A table in each of its forms, and the command that writes them."""

import csv
import html.parser
import io
import re
import shutil
import subprocess

import pytest

from analysis import tables as command_line
from analysis.results_table.csv_file import to_csv
from analysis.results_table.html import html as to_html
from analysis.results_table.latex import latex
from analysis.results_table.markdown import markdown
from analysis.results_table.model import MISSING
from analysis.results_table.terminal import text
from runtime.command_line import UserError
from runtime.results import write

PACKAGES = r"\usepackage{booktabs}\usepackage[a3paper,landscape]{geometry}"


@pytest.fixture
def table(tables, record, detection, printed):
    """Random init, Matrix-SSL over three seeds, BYOL over one, and a published BYOL with a caveat to escape."""
    records = [*detection("random", [44.0, 26.4, 27.8], [46.9, 29.3, 30.8])]
    for seed in range(3):
        records += detection("matrix_ssl", [60.8, 41.0 + seed, 44.2], [57.2, 35.6, 38.1], seed=seed)
    records += [record("byol", 40.9, recipe="imagenet_100ep")]
    paper = printed("byol", 37.9, variant="100% & more_", caveat="rate #1 ~ $5 {x} ^ <2>")
    [made] = tables(records, [paper])
    return made


def test_markdown_sets_the_best_in_bold_and_the_published_in_italics(tables, record, printed):
    [small] = tables([record(value=40.0), record("random", 26.0)], [printed("byol", 37.9)])
    lines = markdown(small).splitlines()
    assert lines[:6] == [
        "coco_2017, protocol moco-c4-1x, 5000 images; percent, mean ± standard deviation over seeds",
        "",
        "| method | recipe | epochs | box AP | seeds |",
        "| --- | --- | ---: | ---: | ---: |",
        "| random init | – | – | 26.0 | 1 |",
        "| Matrix-SSL | demo | 8 | **40.0** | 1 |",
    ]
    assert lines[6] == "| *BYOL* | published [a] | *200* | *37.9* | – |"
    assert lines[8].startswith("Bold: the best measured mean") and lines[-1].strip() == "[a] Table 5: rate searched"


def test_single_seeds_close_together_carry_a_dagger_and_its_footnote(tables, record):
    [small] = tables([record(value=40.0), record("byol", 39.9)])
    assert "| 40.0 † |" in markdown(small) and "| 39.9 † |" in markdown(small)
    assert "† Single seeds no farther from the best than that" in markdown(small) and "**" not in markdown(small)


def test_a_missing_cell_is_no_zero_and_one_with_fewer_seeds_says_so(tables, record):
    records = [record(value=40.0 + seed, seed=seed) for seed in range(3)]
    [small] = tables([*records, record(value=60.0, metric="AP50"), record("random", 26.0)])
    random, ours = small.rows
    assert [small.text(random, column) for column in small.columns] == [MISSING, "26.0"]
    assert [small.text(ours, column) for column in small.columns] == ["60.0 (n=1)", "41.0 ± 1.0"]
    assert (small.seeds(random), small.seeds(ours)) == ("1", "3")
    missing = next(csv.DictReader(io.StringIO(to_csv(small))))
    assert (missing["metric"], missing["mean"], missing["n"]) == ("AP50", "", "0")


def test_the_terminal_sees_aligned_columns_and_a_line_above_the_published(table):
    lines = text(table).splitlines()[2:9]
    assert len({len(line) for line in lines}) == 1
    assert "published" in lines[5] and set(lines[5]) - set("published") == {"-"}
    assert lines[2].split()[:6] == ["random", "init", "–", "–", "44.0", "26.4"]


def test_the_csv_says_where_each_number_comes_from(table):
    cells = list(csv.DictReader(io.StringIO(to_csv(table))))
    [ours] = [c for c in cells if (c["method"], c["task"], c["metric"]) == ("matrix_ssl", "bbox", "AP")]
    assert (ours["mean"], ours["std"], ours["n"]) == ("42.0000", "1.0000", "3")
    assert ours["seeds"] == "0 1 2" and ours["values"] == "41.0000 42.0000 43.0000" and ours["source"] == "measured"
    assert ours["weights_sha256"] == "sha-matrix_ssl-0 sha-matrix_ssl-1 sha-matrix_ssl-2"
    [paper] = [cell for cell in cells if cell["source"] != "measured" and cell["mean"]]
    assert (paper["source"], paper["n"], paper["std"]) == ("Table 5", "", "") and paper["caveat"].startswith("rate #1")


def structure(source: str) -> list[list[str]]:
    """The cells of each line of a LaTeX tabular; asserts that environments, braces and columns fit together."""
    open_ones = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", source):
        if kind == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert not open_ones
    assert source.count("{") - source.count(r"\{") == source.count("}") - source.count(r"\}")
    [(columns, body)] = re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*)\\end\{tabular\}", source, re.S)
    lines = [line for line in body.splitlines() if line.rstrip().endswith(r"\\")]
    grid = [re.split(r"(?<!\\)&", line.strip().removesuffix(r"\\")) for line in lines]
    for cells in grid:
        spans = [int(width) for width in re.findall(r"\\multicolumn\{(\d+)\}", "&".join(cells))]
        assert len(cells) + sum(spans) - len(spans) == len(columns), cells
    return grid


def test_latex_is_balanced_has_its_columns_and_escapes_what_a_name_may_hold(table):
    source = latex(table)
    grid = structure(source)
    assert len(grid) == 2 + len(table.rows)
    assert r"\textit{BYOL (100\% \& more\_)}" in source and r"\textit{37.9}" in source
    assert r"\#1 \textasciitilde{} \$5 \{x\} \textasciicircum{} \textless{}2\textgreater{}" in source
    assert r"$\pm$" in source and not re.search(r"[±–†]", source)
    assert [rule for rule in ("toprule", "bottomrule") if source.count(rule) != 1] == []
    assert source.count("midrule") - source.count("cmidrule") == 2  # below the head, above the published rows


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX here; the structure is tested above")
def test_latex_compiles(table, tmp_path):
    (tmp_path / "t.tex").write_text(latex(table), encoding="utf-8")
    (tmp_path / "all.tex").write_text(
        rf"\documentclass{{article}}{PACKAGES}\begin{{document}}\input{{t}}\end{{document}}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-800:]
    assert (tmp_path / "all.pdf").stat().st_size > 5_000


def test_a_row_may_begin_with_a_bracket_and_have_greek_letters(record, tables):
    r"""After \\\\, a [ would be a length; pdflatex knows no γ outside of mathematics."""
    [table] = tables([record(), record(variant="steps=[60,80]"), record(variant="steps=[30,40]"), record("γ-net")])[1:]
    assert "    {}[30,40] & demo" in latex(table)
    [table, _] = tables([record(), record(variant="steps=[60,80]"), record(variant="steps=[30,40]"), record("γ-net")])
    assert r"    $\gamma$-net & demo" in latex(table) and "γ" not in latex(table)


def test_numbers_of_different_images_are_not_compared_and_say_so(record, tables):
    """Somebody's subset of the validation images goes under the name of the whole."""
    [same] = tables([record(value=40.0), record("byol", 30.0)])
    [table] = tables([record(value=40.0), record("byol", 30.0, n=300), record(value=20.0, metric="AP50")])
    assert "**40.0**" in markdown(same) and "not the same ones" not in markdown(same)
    assert "**40.0**" not in markdown(table)
    assert "Measured on 300 and 5000 images, which are not the same ones (box AP): none is bold." in markdown(table)


def test_a_name_is_never_markup_or_a_path(record, tables):
    [table] = tables([record("a|b *c* <i>", benchmark="../my set/v1 50%")])
    assert table.name == "my-set-v1-50-moco-c4-1x"
    assert r"| a\|b \*c\* &#60;i> |" in markdown(table)
    assert rf"\label{{tab:{table.name}}}" in latex(table)


class Page(html.parser.HTMLParser):
    """Checks nesting, and keeps cells and the classes of rows."""

    def __init__(self):
        super().__init__()
        self.open, self.rows, self.cells = [], [], {}

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta",):
            self.open.append(tag)
        attributes = dict(attributes)
        if tag == "tr":
            self.rows.append(attributes.get("class"))
        if "data-cell" in attributes:
            self.cells[attributes["data-cell"]] = attributes["title"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_nested_right_and_every_cell_knows_its_pedigree(table):
    page, source = Page(), to_html(table)
    page.feed(source)
    assert not page.open and page.rows == [None] * 5 + ["published"]
    assert "41.0000 on 5000 images" in page.cells["matrix_ssl/demo/8ep/coco_2017/moco-c4-1x/bbox/AP"]
    assert "Table 5 (rate #1" in page.cells["byol/100% & more_/200ep/published in Table 5/coco_2017/moco-c4-1x/bbox/AP"]
    assert "100% &amp; more_" in source and "<strong>" in source


def test_the_command_collects_what_lies_below_the_runs_and_writes_every_form(tmp_path, capsys, record):
    write(tmp_path / "a" / "p" / "result.json", [record(value=40.0)])
    write(tmp_path / "b" / "p" / "result.json", [record("random", 26.0)])
    command_line.main([str(tmp_path)])
    command_line.main([str(tmp_path), "--no-published"])
    said = capsys.readouterr().out
    assert said.count("random init") == 3 and said.count("published [a]") > 3  # the paper's random init too, once
    assert "40.0" in (tmp_path / "results" / "coco_2017-moco-c4-1x.md").read_text()
    endings = {path.suffix for path in (tmp_path / "results").iterdir()}
    assert endings == {".md", ".csv", ".tex", ".html"}


def test_a_cell_is_explained_and_nothing_is_written(tmp_path, capsys, record):
    write(tmp_path / "a" / "result.json", [record(value=40.0)])
    command_line.main([str(tmp_path), "--explain", "matrix_ssl/moco-c4-1x/bbox/AP"])
    assert f"seed 0: 40.0000 on 5000 images, in {tmp_path / 'a' / 'result.json'}" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_results_that_no_table_shows_and_a_folder_without_any_say_what_to_do(tmp_path, record):
    with pytest.raises(UserError, match="run the stage transfer first"):
        command_line.main([str(tmp_path)])
    write(tmp_path / "a" / "result.json", [record(metric="APs")])
    with pytest.raises(UserError, match="has a place in a table"):
        command_line.main([str(tmp_path)])
