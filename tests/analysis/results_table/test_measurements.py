"""Every record below a folder, with its file, each measurement once."""

import itertools
import shutil
import threading

import pytest

from analysis.results_table.measurements import collect
from runtime.command_line import UserError
from runtime.results import write


def test_records_come_with_their_files_in_the_order_of_the_paths(tmp_path, record):
    write(tmp_path / "b" / "p" / "result.json", [record("random", 26.0)])
    write(tmp_path / "a" / "p" / "result.json", [record(value=40.0), record(value=60.0, metric="AP50")])
    found = collect(tmp_path).measurements
    assert [(entry.record.value, entry.path.parent.parent.name) for entry in found] == [(40, "a"), (60, "a"), (26, "b")]


def test_a_seed_given_twice_is_refused_with_both_files(tmp_path, record):
    for folder in ("a", "b"):
        write(tmp_path / folder / "result.json", [record(value=40.0)])
    with pytest.raises(
        UserError, match=r"a/result.json and .*b/result.json hold the same result twice \(matrix_ssl seed"
    ):
        collect(tmp_path)


def test_a_seed_given_twice_in_one_file_is_refused_too(tmp_path, record):
    write(tmp_path / "a" / "result.json", [record(value=40.0), record(value=41.0)])
    with pytest.raises(UserError, match="a/result.json holds the same result twice .*; move one of them away"):
        collect(tmp_path)


def test_variants_of_a_recipe_are_different_measurements(tmp_path, record):
    write(tmp_path / "a" / "result.json", [record(), record(variant="gamma=0.3")])
    assert len(collect(tmp_path).measurements) == 2


def test_a_linked_folder_is_read_once_and_a_link_to_a_parent_ends(tmp_path, record):
    write(tmp_path / "disk" / "byol" / "p" / "result.json", [record("byol", 39.0)])
    write(tmp_path / "runs" / "a" / "p" / "result.json", [record(value=40.0)])
    (tmp_path / "runs" / "b").symlink_to(tmp_path / "disk" / "byol")
    (tmp_path / "runs" / "c").symlink_to(tmp_path / "runs" / "a")
    (tmp_path / "runs" / "a" / "up").symlink_to(tmp_path / "runs")
    assert [entry.record.value for entry in collect(tmp_path / "runs").measurements] == [40.0, 39.0]


def test_a_folder_without_results_and_no_folder_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match="no result.json below .*; run the stage transfer first"):
        collect(tmp_path)
    with pytest.raises(UserError, match="not a folder of runs"):
        collect(tmp_path / "nothing")


def test_a_damaged_result_is_named_and_costs_only_itself(tmp_path, record):
    write(tmp_path / "a" / "result.json", [record(value=40.0)])
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "result.json").write_text('{"records": [')
    (tmp_path / "c" / "result.json").mkdir(parents=True)
    collection = collect(tmp_path)
    assert [entry.record.value for entry in collection.measurements] == [40.0]
    assert [fault.split()[0].removeprefix(f"{tmp_path}/") for fault in collection.faults] == [
        *("b/result.json", "c/result.json")
    ]
    assert "Left out: 2 result files" in collection.note()


def test_runs_may_be_written_renamed_and_removed_while_they_are_read(tmp_path, record):
    runs, ended = tmp_path / "runs", threading.Event()

    def disturb():
        for number in itertools.count():
            row = runs / f"row{number % 10}"
            write(row / "p" / "result.json", [record(seed=number % 10)])
            if number % 3 == 0:
                row.rename(runs / f"moved{number % 10}")
            if number % 5 == 0:
                shutil.rmtree(runs / f"moved{number % 10}", ignore_errors=True)
            shutil.rmtree(runs / f"moved{(number + 1) % 10}", ignore_errors=True)
            if ended.is_set():
                return

    write(runs / "always" / "result.json", [record("byol")])
    writer = threading.Thread(target=disturb)
    writer.start()
    try:
        for _ in range(60):
            try:
                assert any(entry.record.method == "byol" for entry in collect(runs).measurements)
            except UserError as error:
                assert "the same result twice" in str(error)  # a row and its copy are both there for a moment
    finally:
        ended.set()
        writer.join()


def test_a_file_that_is_no_result_is_named(tmp_path):
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(UserError, match="result.json is no result file"):
        collect(tmp_path)
