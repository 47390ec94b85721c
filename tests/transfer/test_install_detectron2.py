"""The installer: what it refuses, what it keeps, and what the wheel it packs holds. No network."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from runtime.command_line import UserError
from runtime.files import sha256
from transfer import install_detectron2

pytestmark = pytest.mark.slow

METADATA = """\
Metadata-Version: 2.1
Name: sal-detectron2
Version: 0.7.2
Requires-Dist: Pillow>=7.1
Requires-Dist: numpy<2
Requires-Dist: black
Provides-Extra: dev
Requires-Dist: black==23.3.0; extra == "dev"
"""


@pytest.fixture
def published(tmp_path) -> Path:
    """A wheel built like the one on the index: tagged for CPython 3.10, with a compiled library and stray tools."""
    root = tmp_path / "sal_detectron2-0.7.2"
    files = {
        "detectron2/__init__.py": '__version__ = "0.7.2"\n',
        "detectron2/_C.cpython-310-x86_64-linux-gnu.so": "compiled for another torch",
        "detectron2/config/defaults.py": "_C = {}\n",
        "tools/train_net.py": "",
        "sal_detectron2-0.7.2.dist-info/METADATA": METADATA,
        "sal_detectron2-0.7.2.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp310-none-any\n",
        "sal_detectron2-0.7.2.dist-info/top_level.txt": "detectron2\ntools\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    subprocess.run(
        [sys.executable, "-m", "wheel", "pack", root, "--dest-dir", tmp_path], check=True, capture_output=True
    )
    return tmp_path / "sal_detectron2-0.7.2-cp310-none-any.whl"


def contents(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_the_rebuilt_wheel_is_for_any_python_and_holds_python_files_only(published, tmp_path):
    wheel = install_detectron2.rebuild(published, tmp_path / "rebuilt")
    assert wheel.name == "sal_detectron2-0.7.2+nobinary-py3-none-any.whl"
    files = contents(wheel)
    info = "sal_detectron2-0.7.2+nobinary.dist-info"
    assert {name for name in files if not name.startswith(info)} == {
        "detectron2/__init__.py",
        "detectron2/config/defaults.py",
    }
    assert files[f"{info}/top_level.txt"].split() == ["detectron2"]
    assert "Tag: py3-none-any" in files[f"{info}/WHEEL"]
    assert len(files[f"{info}/RECORD"].splitlines()) == len(files)


def test_the_rebuilt_wheel_asks_for_what_is_imported_and_nothing_stale(published, tmp_path):
    wheel = install_detectron2.rebuild(published, tmp_path / "rebuilt")
    lines = contents(wheel)["sal_detectron2-0.7.2+nobinary.dist-info/METADATA"].splitlines()
    assert "Version: 0.7.2+nobinary" in lines
    assert [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist")] == [
        "Pillow>=7.1",
        "numpy",
        "setuptools<82",
        'black==23.3.0; extra == "dev"',
    ]


def test_pip_installs_the_rebuilt_wheel_under_this_python(published, tmp_path):
    wheel = install_detectron2.rebuild(published, tmp_path / "rebuilt")
    install_detectron2.python("-m", "pip", "install", "--no-deps", "--no-index", "--target", tmp_path / "site", wheel)
    assert (tmp_path / "site/detectron2/__init__.py").exists()
    assert not (tmp_path / "site/tools").exists()


def test_a_wheel_with_another_hash_is_refused(published):
    assert install_detectron2.verified(published, sha256(published)) == published
    with pytest.raises(UserError, match=rf"{sha256(published)}, expected {install_detectron2.SHA256}"):
        install_detectron2.verified(published)


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """A function that puts a package detectron2 with the given __init__.py where Python looks first; no pip."""

    def place(text: str) -> Path:
        package = tmp_path / "site" / "detectron2"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(package.parent)
        return package

    def no_pip(*arguments):
        raise AssertionError(f"pip must not run here: {arguments}")

    # Put back afterwards, for the tests that use the real one.
    for name in [name for name in sys.modules if name.partition(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(install_detectron2, "python", no_pip)
    yield place
    sys.modules.pop("detectron2", None)


def test_a_detectron2_that_imports_is_kept_whatever_its_version(environment, capsys):
    package = environment('__version__ = "0.6+cu113"\n')
    install_detectron2.main([])
    assert capsys.readouterr().out == f"detectron2 0.6+cu113 in {package}: kept\n"


def test_a_detectron2_that_does_not_import_is_named_and_left_alone(environment):
    package = environment("import no_such_torch\n")
    with pytest.raises(UserError, match=rf"{package} does not import .*no_such_torch.*repair it"):
        install_detectron2.main([])


def test_what_pip_says_becomes_one_line(tmp_path):
    with pytest.raises(UserError, match=r"No matching distribution found for sal-detectron2==0\.7\.2") as error:
        install_detectron2.python(
            "-m", "pip", "download", "--no-index", "--find-links", tmp_path, "sal-detectron2==0.7.2"
        )
    assert "\n" not in str(error.value)
