"""Writes the reference while the site is built: the settings classes, and a page for each folder."""

import ast
import re
from pathlib import Path

import mkdocs_gen_files

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("runtime", "pretrain", "transfer", "language", "analysis", "slurm", "tools")
SETTINGS = ("Config", "Settings")


def settings_classes(path: Path) -> list[str]:
    """The dataclasses of a module whose names say that they are settings."""
    return [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        and node.name.endswith(SETTINGS)
        and any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


rooms: dict[Path, list[Path]] = {}
settings = []
for package in PACKAGES:
    for path in sorted((ROOT / package).rglob("*.py")):
        rooms.setdefault(path.parent, []).append(path)
        settings += [f"{dotted(path)}.{name}" for name in settings_classes(path)]

with mkdocs_gen_files.open("reference/settings.md", "w") as page:
    page.write("# Settings\n\nEvery command takes them as `KEY=VALUE`. The classes below are read from the code.\n\n")
    for name in settings:
        page.write(f"::: {name}\n    options:\n      show_if_no_docstring: true\n\n")

with mkdocs_gen_files.open("reference/modules/index.md", "w") as index:
    index.write("# Modules\n\nA page for each folder; a package imports only those above it.\n\n")
    for folder, paths in rooms.items():
        name = dotted(folder)
        index.write(f"- [{name}]({name}.md)\n")
        with mkdocs_gen_files.open(f"reference/modules/{name}.md", "w") as page:
            page.write(f"# {name}\n\n")
            for path in sorted(paths, key=lambda path: path.stem != "__init__"):
                page.write(f"::: {dotted(path)}\n    options:\n      show_submodules: false\n\n")

extend = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
with mkdocs_gen_files.open("guides/extend.md", "w") as page:
    page.write(re.sub(r"\]\(docs/", "](../", extend))
