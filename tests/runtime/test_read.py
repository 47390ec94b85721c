"""The readers of files from outside: typed values, or one line that names file, place and remedy."""

import gzip
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import read
from runtime.command_line import UserError, error_lines

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{letter}: &{letter} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, letter in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a: &a {x: 1}\n" + "".join(
    f"{letter}: &{letter} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, letter in zip("abcdefgh", "bcdefghi", strict=True)
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "name, content, problem",
    [
        ("a.yaml", BOMB.encode(), "more than 100,000 values"),
        ("a.yaml", MERGE_BOMB.encode(), "more than 100,000 values"),
        ("a.yaml", b"a: &a [*a]\n", "line 1: *a lies inside itself"),
        ("a.yaml", b"[" * 5000 + b"]" * 5000, "more than 64 levels"),
        ("a.yaml", b"a: " + b"x" * (2 << 20), "more than 1,024 KiB"),
        ("a.yaml", b"lr: 1\nlr: 2\n", "line 2: 'lr' is given twice"),
        ("a.yaml", b"a: 1\n b: [2\n", "line 2"),
        ("a.yaml", b"a: !!python/object/apply:os.system [ls]\n", "line 1"),
        ("a.yaml", b"a: 2001-99-99\n", "no YAML"),
        ("a.yaml", b"a: !!bool maybe\n", "no YAML"),
        ("a.yaml", b"a: \x00\n", "no YAML"),
        ("a.yaml", b"a: \xff\n", "not UTF-8"),
        ("a.json", b"[" * 5000 + b"]" * 5000, "more than 64 levels"),
        ("a.json", b"[" * 70 + b"]" * 70, "more than 64 levels"),
        ("a.json", b'{"a": 1,\n "b" 2}', "line 2, column 6"),
        ("a.json", b"9" * 5000, "no JSON"),
        ("a.json", b"", "line 1, column 1"),
        ("a.json.gz", b"no gzip", "cannot be read"),
        ("a.json.gz", gzip.compress(b" " * (65 << 20)), "more than 65,536 KiB"),
        ("a.jsonl", b'{"a": 1}\n[2]\n', "line 2 holds a list"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n{"a": 3}\n', "line 2"),
        (".", b"", "is no file"),
        ("absent.json", None, "does not exist"),
    ],
)
def test_what_cannot_be_read_is_one_short_line_with_file_place_and_remedy(tmp_path, name, content, problem):
    path = tmp_path / name
    if content is not None and name != ".":
        path.write_bytes(content)
    reader = {".yaml": read.read_yaml, ".jsonl": read.read_jsonl}.get(path.suffix, read.read_json)
    with pytest.raises(UserError) as error:
        reader(path)
    (line,) = error_lines(error.value)
    assert str(path) in line and problem in line and len(line) <= 300


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_content(tmp_path, encoding):
    (tmp_path / "a").write_bytes('{"ä": [1]}\n'.encode(encoding))
    assert read.read_json(tmp_path / "a") == read.read_yaml(tmp_path / "a") == {"ä": [1]}
    assert read.read_jsonl(tmp_path / "a") == [{"ä": [1]}]


def test_the_last_line_that_is_still_being_written_is_left_out(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert read.read_jsonl(tmp_path / "log.jsonl") == [{"step": 1}, {"step": 2}]


@settings(derandomize=True, max_examples=60, deadline=None)
@given(value=JSON_VALUES)
def test_json_reads_back_what_was_written(value):
    assert read.parse_json(json.dumps(value), "a") == value


@settings(derandomize=True, max_examples=150, deadline=None)
@given(text=st.text(st.sampled_from("a1:-[]{}&*!<,\n '\"?|>%@`#~\t\x00é"), max_size=40))
def test_any_text_is_a_value_or_a_user_error(text):
    for parse in (read.parse_yaml, read.parse_json):
        try:
            parse(text, "a")
        except UserError as error:
            assert all(len(line) <= 300 for line in error_lines(error))
