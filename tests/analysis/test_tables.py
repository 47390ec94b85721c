"""Tables of records a reader can add up in the head."""

import csv
import io

import pytest

from analysis import records, tables
from pretrain.command_line import UserError
from transfer.results import Record, write


def record(method="matrix_ssl", value=40.0, *, seed=0, protocol="moco-c4-1x", task="bbox", metric="AP", **changes):
    own = {"recipe": "", "epochs": 0, "weights_sha256": ""} if method == "random" else {"recipe": "demo", "epochs": 8}
    common = {"benchmark": "coco_2017", "commit": "abc123", "weights_sha256": f"sha-{method}-{seed}", "n": 5000}
    place = {"protocol": protocol, "task": task, "metric": metric, "value": value, "seed": seed}
    return Record(method=method, **common | own | place | changes)


def detection(method, box, mask, **more):
    """AP50, AP, AP75 of boxes and of masks."""
    names = ("AP50", "AP", "AP75")
    found = [record(method, value, metric=name, **more) for name, value in zip(names, box, strict=True)]
    return found + [
        record(method, value, metric=name, task="segm", **more) for name, value in zip(names, mask, strict=True)
    ]


def test_columns_stand_in_the_papers_order_and_random_init_first():
    [table] = tables.build(
        detection("matrix_ssl", [60.8, 41.0, 44.2], [57.2, 35.6, 38.1])
        + detection("random", [44.0, 26.4, 27.8], [46.9, 29.3, 30.8])
        + [record(value=71.1, task="classification", metric="top1", protocol="knn-20")]
        + [record(metric="APs", value=1.0)]
    )
    assert table.markdown() == (
        "coco_2017, protocol moco-c4-1x, 5000 images; percent, mean ± standard deviation over seeds\n\n"
        "| method | recipe | epochs | box AP50 | box AP | box AP75 "
        "| mask AP50 | mask AP | mask AP75 | kNN-20 top-1 | seeds |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| random init | – | – | 44.0 | 26.4 | 27.8 | 46.9 | 29.3 | 30.8 | – | 1 |\n"
        "| Matrix-SSL | demo | 8 | 60.8 | 41.0 | 44.2 | 57.2 | 35.6 | 38.1 | 71.1 | 1 |\n"
    )


def test_the_terminal_sees_aligned_columns():
    [table] = tables.build([record("random", 5.0), record(value=40.0), record(value=41.0, seed=1)])
    lines = table.text().splitlines()[2:]
    assert len({len(line) for line in lines if line}) == 1
    assert lines[2].split() == ["random", "init", "–", "–", "5.0", "1"]
    assert lines[3].split() == ["Matrix-SSL", "demo", "8", "40.5", "±", "0.7", "2"]


def test_spread_is_the_sample_standard_deviation_and_one_seed_has_none():
    assert tables.mean_and_spread([1.0, 2.0, 3.0]) == "2.0 ± 1.0"
    assert tables.mean_and_spread([2.0]) == "2.0"


def test_a_missing_cell_is_no_zero_and_one_with_fewer_seeds_says_so():
    [table] = tables.build(
        [record(value=40.0 + seed, seed=seed) for seed in range(3)]
        + [record(value=60.0, metric="AP50")]
        + [record("random", 26.0)]
    )
    random, ours = table.lines()
    assert random[3:] == [tables.MISSING, "26.0", "1"]
    assert ours[3:] == ["60.0 (n=1)", "41.0 ± 1.0", "3"]
    missing = next(csv.DictReader(io.StringIO(table.csv())))
    assert (missing["metric"], missing["mean"], missing["n"]) == ("AP50", "", "0")


def test_two_protocols_never_share_a_table():
    found = tables.build([record(value=38.0), record(value=41.0, protocol="moco-c4-2x")])
    assert [(table.name, table.lines()[0][3]) for table in found] == [
        ("coco_2017-moco-c4-1x", "38.0"),
        ("coco_2017-moco-c4-2x", "41.0"),
    ]


def test_two_recipes_of_one_method_are_two_rows_and_a_quoted_number_looks_quoted():
    [table] = tables.build(
        [record(value=40.0), record(value=42.0, recipe="imagenet-400ep", epochs=400)]
        + [record(value=41.5, source="arXiv 2305.17326")]
    )
    assert sorted(line[0] for line in table.lines()) == ["Matrix-SSL", "Matrix-SSL", "Matrix-SSL [arXiv 2305.17326]"]


def test_a_probe_alone_has_its_own_table():
    [table] = tables.build([record(value=70.0, task="classification", metric="top1", protocol="knn-20")])
    assert table.name == "coco_2017-knn-20" and table.head[3] == "kNN-20 top-1"


def test_the_csv_says_where_each_number_comes_from():
    [table] = tables.build([record(value=40.0), record(value=41.0, seed=1, commit="def456")])
    [cell] = csv.DictReader(io.StringIO(table.csv()))
    assert (cell["mean"], cell["std"], cell["n"]) == ("40.5000", "0.7071", "2")
    assert cell["seeds"] == "0 1" and cell["values"] == "40.0000 41.0000" and cell["commits"] == "abc123 def456"
    assert cell["weights_sha256"] == "sha-matrix_ssl-0 sha-matrix_ssl-1"


def test_the_command_collects_what_lies_below_the_runs(tmp_path, capsys):
    write(tmp_path / "a" / "p" / "result.json", [record(value=40.0)])
    write(tmp_path / "b" / "p" / "result.json", [record("random", 26.0)])
    tables.main([str(tmp_path)])
    tables.main([str(tmp_path)])
    assert "40.0" in (tmp_path / "results" / "coco_2017-moco-c4-1x.md").read_text()
    assert (tmp_path / "results" / "coco_2017-moco-c4-1x.csv").exists()
    assert "random init" in capsys.readouterr().out


def test_the_same_measurement_twice_is_refused_by_name(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder / "result.json", [record(value=40.0)])
    with pytest.raises(UserError, match="a/result.json and .*b/result.json hold the same result"):
        records.collect(tmp_path)


def test_no_result_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="run the stage transfer first"):
        tables.main([str(tmp_path)])
    with pytest.raises(UserError, match="not a folder of runs"):
        tables.main([str(tmp_path / "nothing")])
