import shutil
import subprocess
import sys

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
    assert f"run `make setup` in {tmp_path}" in done.stderr
