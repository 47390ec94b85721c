"""A protocol's version rises when its numbers change, so two versions are kept apart as two protocols are."""

import csv
import io

import pytest

from analysis.figures import rank_against_ap
from analysis.results_table.build_tables import build_tables
from analysis.results_table.csv_file import to_csv
from analysis.results_table.explain import explain, find_cells
from analysis.results_table.latex import latex
from analysis.results_table.markdown import markdown
from analysis.results_table.measurements import collect
from runtime.results import write

NOTE = "moco-c4-1x was measured in versions 1 and 2, and a version rises when a protocol's numbers change"


@pytest.fixture
def collected(tmp_path):
    """``collected([(record, version), ...])``: results in files of their own; a version None is not recorded."""

    def make(entries):
        for number, (entry, version) in enumerate(entries):
            context = {"changed_from_protocol": {}} | ({} if version is None else {"protocol_version": version})
            write(tmp_path / "runs" / f"{number}" / "result.json", [entry], **context)
        return collect(tmp_path / "runs").measurements

    return make


def test_two_versions_of_a_detection_protocol_are_two_tables_that_say_so(record, collected, printed):
    found = collected([(record(value=40.0), 1), (record(value=44.0, seed=1), 2)])
    first, second = build_tables(found, [printed("byol", 37.9)])
    assert (first.name, second.name) == ("coco_2017-moco-c4-1x", "coco_2017-moco-c4-1x-v2")
    assert "protocol moco-c4-1x," in first.caption and "protocol moco-c4-1x v2," in second.caption
    for table, value in ((first, "| 40.0 |"), (second, "| 44.0 |")):
        assert value in markdown(table) and "42.0" not in markdown(table)
        assert NOTE in markdown(table) and NOTE.replace("_", r"\_") in latex(table)
        assert "*37.9*" in markdown(table), "a paper's number belongs beside each version"
    assert [line["version"] for table in (first, second) for line in csv.DictReader(io.StringIO(to_csv(table)))] == [
        *["1", "1"],
        *["2", "2"],
    ]


def test_one_seed_under_two_versions_is_no_result_given_twice(record, collected):
    assert len(build_tables(collected([(record(value=40.0), 1), (record(value=44.0), 2)]), [])) == 2


def test_two_versions_of_a_probe_are_two_columns(record, collected):
    probe = {"protocol": "linear-moco", "task": "classification", "metric": "top1", "benchmark": "imagenet"}
    [table] = build_tables(collected([(record(value=60.0, **probe), 1), (record(value=70.0, **probe), 2)]), [])
    assert [column.name for column in table.columns] == ["linear-moco top-1", "linear-moco v2 top-1"]
    assert "| 60.0 | 70.0 |" in markdown(table) and "linear-moco was measured in versions 1 and 2" in markdown(table)


def test_a_result_that_records_no_version_has_the_first(record, collected):
    """Versions were recorded before the first protocol changed."""
    found = collected([(record(value=40.0), None), (record(value=41.0, seed=1), 1)])
    [table] = build_tables(found, [])
    assert "40.5 ± 0.7" in markdown(table) and "versions" not in markdown(table)
    said = [line.strip() for line in explain(*find_cells([table], "matrix_ssl/AP")[0]) if "version" in line]
    assert said[0].startswith("protocol version not recorded, taken for 1;") and said[1].startswith(
        "protocol version 1;"
    )


def test_explain_tells_the_versions_apart(record, collected):
    tables = build_tables(collected([(record(value=40.0), 1), (record(value=44.0), 2)]), [])
    assert len(find_cells(tables, "matrix_ssl/moco-c4-1x/AP")) == 2
    for asked in ("matrix_ssl/moco-c4-1x v2/AP", "matrix_ssl/v2/AP"):
        [place] = find_cells(tables, asked)
        lines = explain(*place)
        assert lines[0] == "matrix_ssl/demo/8ep/coco_2017/moco-c4-1x v2/bbox/AP: 44.0 (n = 1)"
        assert "protocol version 2" in lines[-1]
    assert ": 40.0 (" in explain(*find_cells(tables, "matrix_ssl/moco-c4-1x/v1/AP")[0])[0]


def test_a_rank_is_not_set_against_two_versions_at_once(record, collected):
    rank = {"protocol": "features-backbone", "task": "representation", "metric": "rank-intra-cov"}
    found = collected([(record(value=9.0, **rank), None), (record(value=40.0), 1), (record(value=44.0), 2)])
    assert [panel.score for panel in rank_against_ap.panels(found)] == [
        "box AP (coco_2017, moco-c4-1x)",
        "box AP (coco_2017, moco-c4-1x v2)",
    ]
