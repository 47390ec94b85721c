"""What makes a job the same job: its command, the code it can reach, and what it reads."""

import ast
import contextlib
import functools
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from runtime import job_records
from runtime.job_graph import Job
from runtime.job_records import Done
from runtime.provenance import PACKAGES, ROOT

IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(?:([^(\n]+)|\(([^)]*)\))|import[ \t]+([^\n#]+))", re.MULTILINE
)


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A graph whose jobs know who they are, and which of them need not be run."""

    jobs: list[Job]

    done: set[str] = field(default_factory=set)
    """Names of the jobs that ran to their end with this command and these inputs, and still have their outputs."""

    other_code: dict[str, str] = field(default_factory=dict)
    """Those of them that other code made -> its commit."""


def settle(runs: Path, jobs: Sequence[Job], *, redo: bool = False) -> Settled:
    """Give every job its identity and find what is done; with ``redo``, what other code made is not.

    Identity is ``{"key", "code", "inputs"}``: ``inputs`` are the keys of the jobs that wrote what this one reads, as
    they were when they ran, so whatever is done again takes with it all that was made from it; and the user's own
    recipe.
    """
    settled = Settled(jobs=[])
    keys: dict[str, str] = {}
    writer = {path: job.name for job in jobs for path in job.outputs}
    for job in jobs:
        inputs = {} if job.fan_in else {str(p): written_by(runs, p, writer, keys) for p in job.inputs}
        inputs |= settings_in(job.argv)
        code = code_of(job.module, job.argv)
        key = digest(job.module, job.argv, code, inputs)
        record = job_records.read(job_records.home(runs, job.name), Done)
        keys[job.name] = key
        if record and job.outputs and job.has_outputs and settled.done.issuperset(job.needs):
            same = record.argv == job.argv and record.inputs in (None, inputs)
            changed = record.code not in (None, code)
            if same and not (changed and redo):
                settled.done.add(job.name)
                keys[job.name] = record.key or key
                if changed:
                    settled.other_code[job.name] = record.commit
        settled.jobs.append(replace(job, identity={"key": key, "code": code, "inputs": inputs}))
    return settled


def written_by(runs: Path, path: Path, writer: Mapping[Path, str], keys: Mapping[str, str]) -> str:
    """The key of the job that writes, or wrote, a file; of a file from elsewhere its size and date."""
    if path in writer:
        return keys[writer[path]]
    if path.is_relative_to(runs):
        record = job_records.read(job_records.home(runs, str(path.parent.relative_to(runs))), Done)
        if record and record.key:
            return record.key
    return f"{path.stat().st_size} bytes of {path.stat().st_mtime_ns}" if path.exists() else ""


def settings_in(argv: Sequence[str]) -> dict[str, str]:
    """Path -> hash of the yaml files that a command names. Comments do not count."""
    found = {}
    for word in own_files(argv):
        with contextlib.suppress(yaml.YAMLError, UnicodeDecodeError):  # the command itself will say so
            found[word] = digest(yaml.safe_load(Path(word).read_text(encoding="utf-8")))
    return found


def own_files(argv: Sequence[str]) -> list[str]:
    """The words of a command that are yaml files: a recipe of the user's own."""
    return [word for word in argv if Path(word).suffix in (".yaml", ".yml") and Path(word).is_file()]


def digest(*parts) -> str:
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:16]


def code_of(module: str, argv: Sequence[str]) -> str:
    """Hash of the code a command can reach: what its module imports, and the files in the packages its words name.

    ``--method simclr`` names pretrain/methods/simclr.py, ``--protocol demo-fpn`` its yaml. Comments, docstrings and
    layout do not count.
    """
    return code_reached(module, tuple(named(word.rpartition("=")[2] for word in argv)))


@functools.cache
def code_reached(module: str, chosen: tuple[Path, ...]) -> str:
    reached: dict[Path, None] = {}
    todo = [*paths_of(module), *chosen]
    while todo:
        path = todo.pop()
        if path not in reached:
            reached[path] = None
            todo += reads(path)
    return digest(*(f"{path.relative_to(ROOT)} {fingerprint(path)}" for path in sorted(reached)))


@functools.cache
def reads(path: Path) -> list[Path]:
    """The files of the packages that a file imports, wherever in it, or stands on (``_BASE_`` of a yaml)."""
    if path.suffix != ".py":
        bases = re.findall(r"^_BASE_:\s*(\S+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        return [path.parent / base for base in bases if (path.parent / base).exists()]
    return [found for name in imported(path.read_text(encoding="utf-8")) for found in paths_of(name)]


def imported(source: str) -> Iterator[str]:
    """Every module that a file may import, and every name that may be one; found as text: this has to be quick."""
    for package, one, several, plain in IMPORT.findall(source):
        yield from (name.split()[0] for name in plain.split(",") if name.strip())
        if package:
            yield package
            names = re.sub(r"#.*", "", several or one).split(",")
            yield from (f"{package}.{name.split()[0]}" for name in names if name.strip())


def paths_of(module: str) -> list[Path]:
    """The file of a module of ours, and those of the packages around it; none for anybody else's."""
    parts = module.split(".")
    if parts[0] not in PACKAGES:
        return []
    around = [ROOT.joinpath(*parts[:k], "__init__.py") for k in range(1, len(parts) + 1)]
    return [path for path in [*around, ROOT.joinpath(*parts).with_suffix(".py")] if path.exists()]


def named(words: Iterable[str]) -> list[Path]:
    """Files in the packages' folders of choices (methods, recipes, protocols) whose name is one of ``words``."""
    return [path for word in sorted(set(words) & choices().keys()) for path in choices()[word]]


@functools.cache
def choices() -> dict[str, list[Path]]:
    """Name -> the files in the packages' folders that have it."""
    found: dict[str, list[Path]] = {}
    for path in (path for package in PACKAGES for path in (ROOT / package).glob("*/*")):
        if path.suffix in (".py", ".yaml"):
            found.setdefault(path.stem, []).append(path)
    return found


@functools.cache
def fingerprint(path: Path) -> str:
    """Hash of a file; of Python, of what it does: without comments, docstrings and layout."""
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    tree = ast.parse(path.read_bytes())
    without_texts(tree)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def without_texts(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> None:
    """Remove the docstrings of a module, and of all classes and functions that stand in it."""
    node.body = [line for line in node.body if not is_text(line)]
    for line in node.body:
        if isinstance(line, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            without_texts(line)


def is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
