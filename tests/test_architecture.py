"""What the folder list promises: the direction of imports, who may import whom, and how long a function may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = ["runtime", "pretrain", "transfer", "language", "analysis", "slurm"]
FILES = sorted(path for package in [*PIPELINE, "tools"] for path in (ROOT / package).rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
RUNNABLE = [path for path in FILES if "    run(main)" in path.read_text(encoding="utf-8").splitlines()]
COMMANDS = [path for path in RUNNABLE if path.parent.parent == ROOT]
LONGEST_FUNCTION = 60
HOMES = {"detectron2": "transfer", "fvcore": "transfer", "transformers": "language", "submitit": "slurm"}
"""The package of the pipeline that alone imports a library."""


def imports(tree: ast.AST) -> set[str]:
    """The dotted names of the modules that are imported, and of what is imported from them."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(TREES[path])}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_a_package_imports_only_what_is_to_its_left():
    wrong = []
    for path in FILES:
        own = path.relative_to(ROOT).parts[0]
        allowed = PIPELINE[: PIPELINE.index(own) + 1] if own in PIPELINE else ["runtime", "tools"]
        wrong += [f"{name_of(path)} imports {name}" for name in packages(path) & {*PIPELINE, "tools"} - set(allowed)]
    assert not wrong


def test_nothing_imports_a_command():
    """slurm names commands as text and asks them to parse; everything else is in rooms that all may use."""
    commands = {name_of(path) for path in COMMANDS}
    assert not [
        f"{name_of(path)} imports {name}"
        for path in FILES
        for name in imports(TREES[path]) & commands - {name_of(path)}
    ]


def test_a_library_is_imported_in_one_package_only():
    wrong = []
    for path in FILES:
        if path.parts[-2] == "tools":  # doctor looks at every library to say what is wrong with it
            continue
        wrong += [
            name_of(path) for name in packages(path) & HOMES.keys() if path.relative_to(ROOT).parts[0] != HOMES[name]
        ]
    assert not wrong
    assert packages(ROOT / "pretrain/losses/matrix_information.py") - sys.stdlib_module_names == {"torch"}


def test_a_command_starts_without_torch():
    """Its top level imports light modules only, so that --help and the check of a submission are quick."""
    modules = ", ".join(map(name_of, COMMANDS))
    code = f"import sys, {modules}; print([name for name in ('torch', 'detectron2', 'cv2') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_functions_are_short():
    functions = [
        (node.end_lineno - node.lineno + 1, f"{name_of(path)}.{node.name}")
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert not [entry for entry in functions if entry[0] > LONGEST_FUNCTION]


def test_every_module_says_what_it_is():
    assert all(ast.get_docstring(tree) for tree in TREES.values())


@pytest.mark.slow
@pytest.mark.parametrize("script", RUNNABLE, ids=name_of)
def test_every_command_has_a_help_from_any_folder(script, tmp_path):
    done = subprocess.run([sys.executable, str(script), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: " in done.stdout, done.stderr
