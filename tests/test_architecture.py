"""What the folder list promises: the direction of imports, who may import whom, and how a part is added."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = ["runtime", "pretrain", "transfer", "analysis", "slurm"]
FILES = sorted(path for package in [*PIPELINE, "tools"] for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_imports_only_what_stands_to_its_left(path):
    own = path.relative_to(ROOT).parts[0]
    allowed = PIPELINE[: PIPELINE.index(own) + 1] if own in PIPELINE else PIPELINE[:1]
    assert imported(path) & set(PIPELINE) <= set(allowed)


def test_third_parties_stay_in_their_layer():
    homes = {"detectron2": "transfer", "fvcore": "transfer", "submitit": "slurm"}
    for path in FILES:
        if path.name == "doctor.py":  # it looks at every library to say what is wrong with it
            continue
        for library in imported(path) & homes.keys():
            assert path.relative_to(ROOT).parts[0] == homes[library], f"{path} imports {library}"
    assert imported(ROOT / "pretrain/losses/matrix_information.py") - sys.stdlib_module_names == {"torch"}


def test_no_file_is_too_long_to_read_in_one_sitting():
    long = {str(path): lines for path in FILES if (lines := len(path.read_text().splitlines())) > 300}
    assert not long


def test_every_module_says_what_it_is():
    assert all(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) for path in FILES)


@pytest.mark.parametrize("script", [p for p in FILES if "run(main)" in p.read_text()], ids=lambda p: p.stem)
@pytest.mark.slow
def test_every_command_line_has_a_help_from_any_folder(script, tmp_path):
    done = subprocess.run([sys.executable, str(script), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: " in done.stdout, done.stderr
