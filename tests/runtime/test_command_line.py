import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.command_line import Faults, Parser, UserError, numbers, one_of, printable, run
from runtime.provenance import ROOT


def test_a_script_of_another_checkout_than_the_installed_one_is_refused(tmp_path):
    """One environment, two checkouts: the numbers would carry the commit of the one that was not meant."""
    for name in ("pretrain/scenes.py", "runtime/command_line.py"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    command = [sys.executable, str(tmp_path / "pretrain" / "scenes.py"), "--out", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not (tmp_path / "data").exists()
    assert f"is of the checkout {tmp_path}, but this Python has the packages of {ROOT}" in done.stderr
    assert "run `make setup` in the former" in done.stderr


def test_each_fault_is_a_line_of_its_own_short_and_without_escapes(capsys):
    def main():
        raise UserError.of(["first", "a\x1b]0;x\x07\nb\u202e", "first", "y" * 10_000, *map(str, range(100))])

    with pytest.raises(SystemExit) as end:
        run(main)
    lines = capsys.readouterr().err.split("\n")
    assert end.value.code == 2 and lines[:2] == ["error: first", r"error: a\x1b]0;x\x07\nb\u202e"]
    assert max(map(len, lines)) == 300 and all(line.isprintable() for line in lines)
    assert lines[-2] == "error: and 63 more"


@given(text=st.text(max_size=80))
@settings(derandomize=True, max_examples=100, deadline=None)
def test_what_is_printed_holds_no_control_character(text):
    assert printable(text).isprintable()


def test_faults_of_several_checks_are_raised_together():
    faults = Faults()
    for source, name in [("a", "x"), ("b", "known"), ("c", "y")]:
        with faults.collected(source):
            one_of("word", name, ["known"])
    with pytest.raises(UserError) as error:
        faults.check()
    assert [fault[:2] for fault in error.value.faults] == ["a:", "c:"]


@pytest.mark.parametrize("text", ["", ",", "1,x", "1,1", "-1", "1_0", "٣", "nan", "1.5"])
def test_a_list_that_is_no_list_of_whole_numbers_is_a_user_error(text):
    with pytest.raises(UserError):
        numbers(text)


def test_a_list_names_its_option_when_it_is_wrong():
    parser = Parser()
    parser.add_argument("--seeds", type=numbers)
    assert parser.parse_args(["--seeds", "0, 1,2"]).seeds == [0, 1, 2] and numbers("0.1,1e-2", float) == [0.1, 0.01]
    with pytest.raises(UserError, match="--seeds.*between commas, got '0,x'"):
        parser.parse_args(["--seeds", "0,x"])
