import shutil
import subprocess
import sys

from pretrain.provenance import ROOT


def test_a_script_of_another_checkout_than_the_installed_one_is_refused(tmp_path):
    """One environment, two checkouts: the numbers would carry the commit of the one that was not meant."""
    (tmp_path / "pretrain").mkdir()
    for name in ("scenes.py", "command_line.py"):
        shutil.copy(ROOT / "pretrain" / name, tmp_path / "pretrain")
    command = [sys.executable, str(tmp_path / "pretrain" / "scenes.py"), "--out", str(tmp_path / "data")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not (tmp_path / "data").exists()
    assert f"is of the checkout {tmp_path}, but this Python has the packages of {ROOT}" in done.stderr
    assert f"run `make setup` in {tmp_path}" in done.stderr
