"""A number of a run that was not under its protocol's own settings says so wherever it is shown."""

import csv
import io

import pytest

from analysis.results_table.build_tables import build_tables
from analysis.results_table.csv_file import to_csv
from analysis.results_table.explain import explain
from analysis.results_table.latex import latex
from analysis.results_table.markdown import markdown
from analysis.results_table.measurements import collect
from runtime.results import write


@pytest.fixture
def table_of(tmp_path):
    """``table_of([(record, context), ...])``: the one table of results that lie in files of their own."""

    def make(entries):
        for number, (entry, context) in enumerate(entries):
            write(tmp_path / f"{number}" / "result.json", [entry], **context)
        [table] = build_tables(collect(tmp_path).measurements, [])
        return table

    return make


def test_a_shorter_schedule_is_marked_named_and_never_bold(record, table_of):
    short = {"scale": 1, "changed_from_protocol": {"SOLVER.MAX_ITER": 9000}}
    table = table_of([(record(value=40.0), short), (record("byol", 30.0), {"scale": 1, "changed_from_protocol": {}})])
    said = markdown(table)
    assert "| 40.0 ‡ |" in said and "| 30.0 |" in said and "**" not in said
    assert "‡ Not under the protocol's own settings: Matrix-SSL/demo/8ep (SOLVER.MAX_ITER 9000)." in said
    assert r"40.0 $^\ddagger$" in latex(table) and "‡" not in latex(table)
    assert [line["changed"] for line in csv.DictReader(io.StringIO(to_csv(table)))] == ["none", "SOLVER.MAX_ITER 9000"]
    ours = next(row for row in table.rows if row.method == "matrix_ssl")
    assert explain(table, ours, table.columns[0])[-1].endswith("deviations from its settings: SOLVER.MAX_ITER 9000")


def test_the_network_of_a_row_from_scratch_is_no_deviation(record, table_of):
    said = markdown(table_of([(record(), {"changed_from_protocol": {"TRANSFER.BACKBONE": "resnet18"}})]))
    assert "‡" not in said


def test_rows_that_departed_alike_are_compared(record, table_of):
    half = {"scale": 2, "changed_from_protocol": {"SOLVER.AMP.ENABLED": True}}
    said = markdown(table_of([(record(value=40.0), half), (record("byol", 30.0), half)]))
    assert "**40.0 ‡**" in said and "Matrix-SSL/demo/8ep, BYOL/demo/8ep (--scale 2, SOLVER.AMP.ENABLED True)" in said


def test_seeds_that_were_not_alike_are_told_apart(record, table_of):
    own, eighth = {"changed_from_protocol": {}}, {"changed_from_protocol": {}, "scale": 8}
    said = markdown(table_of([(record(value=40.0), own), (record(value=41.0, seed=1), eighth)]))
    assert "(seed 0: none; seed 1: --scale 8)" in said


def test_two_deviations_of_a_row_are_both_named_with_their_protocols(record, table_of):
    """Two probes of one row in one table; what both have in common stands once."""
    kind = {"task": "classification", "metric": "top1", "benchmark": "scenes"}
    probes = [record("byol", protocol=f"linear-{name}", **kind) for name in ("mae", "mocov2")]
    short, fast = ({"changed_from_protocol": {key: value}} for key, value in (("epochs", 10), ("lr", 0.5)))
    apart = markdown(table_of(list(zip(probes, (fast, short), strict=True))))
    assert apart.count("‡") == 3 and "BYOL/demo/8ep (linear-mae: lr 0.5; linear-mocov2: epochs 10)." in apart
    alike = markdown(table_of([(probe, fast) for probe in probes]))
    assert alike.count("‡") == 3 and "BYOL/demo/8ep (lr 0.5)." in alike


def test_two_deviations_under_one_protocol_are_named_with_their_tasks(record, table_of):
    """Boxes of two seeds, masks of one: the cells say different things of the same runs."""
    half = {"changed_from_protocol": {}, "scale": 2}
    eighth = {"changed_from_protocol": {}, "scale": 8}
    said = markdown(table_of([(record(), half), (record(seed=1), eighth), (record(value=30.0, task="segm"), half)]))
    assert "(box: seed 0: --scale 2; seed 1: --scale 8; mask: --scale 2)" in said


def test_a_result_that_records_no_deviations_is_not_taken_for_one_without_any(record, table_of):
    """Departures have not been recorded from the first: nobody can say now what such a run was under."""
    table = table_of([(record(value=40.0), {}), (record(value=41.0, seed=1), {"changed_from_protocol": {}})])
    assert "‡" not in markdown(table)
    [line] = csv.DictReader(io.StringIO(to_csv(table)))
    assert line["changed"] == "seed 0: not recorded; seed 1: none"
    behind = [line for line in explain(table, table.rows[0], table.columns[0]) if "deviations" in line]
    assert [line.rpartition(": ")[2] for line in behind] == ["not recorded", "none"]


def test_a_probe_without_settings_has_nothing_to_depart_from(record, table_of):
    """The name of a nearest-neighbour probe says all of it."""
    probe = {"protocol": "knn-20-T0.07", "task": "classification", "metric": "top1"}
    table = table_of([(record(**probe), {})])
    assert "deviations" not in "\n".join(explain(table, table.rows[0], table.columns[0]))
    assert [line["changed"] for line in csv.DictReader(io.StringIO(to_csv(table)))] == ["none"]
