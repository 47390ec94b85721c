r"""Installs Detectron2 where there is none, from the package index alone and without a compiler.

A Detectron2 that imports is kept, whatever its version, so upstream's own installation comes before this one. It also
builds the compiled operators, needs a compiler, and wants torch installed before it; the commit is the one whose Python
files the suite was tested with:

    pip install --no-build-isolation \
        'git+https://github.com/facebookresearch/detectron2.git@a59f05630a8f205756064244bf5beb8661f96180'

The index has Detectron2 only under another name: the Python files of ``sal-detectron2`` 0.7.2 equal that commit,
except for the version string, a fix of ``sample(list(...))`` and a test helper. Its wheel is tagged for one Python and
carries a library compiled for torch 2.3, so it is packed again without that library, for any Python. What needs the
library, and is missing then: rotated boxes, deformable convolution, the C++ COCO evaluator. ROIAlign and NMS are
torchvision's.
"""

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from runtime.command_line import Parser, UserError, run
from runtime.files import sha256

NAME, VERSION = "sal-detectron2", "0.7.2"
SHA256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
# A local version, because what is installed is not, file by file, what was published.
REBUILT = f"{VERSION}+nobinary"

WHEEL = """\
Wheel-Version: 1.0
Generator: ssl-transfer-bench
Root-Is-Purelib: true
Tag: py3-none-any
"""
REQUIREMENTS = {
    "numpy<2": "numpy",  # stale: it runs under numpy 2.4
    "black": "setuptools<82",  # black only formats configs saved as Python; pkg_resources is really imported
}


def installed() -> str | None:
    """Version and folder of the Detectron2 that this Python imports; None where there is none.

    Raises UserError for one that is there and does not import: it is the user's, and not ours to replace.
    """
    importlib.invalidate_caches()
    spec = importlib.util.find_spec("detectron2")
    if spec is None or spec.origin is None:  # no origin: a mere folder of that name
        return None
    try:
        import detectron2
    except Exception as error:
        raise UserError(
            f"detectron2 in {Path(spec.origin).parent} does not import ({type(error).__name__}: {error}); "
            f"repair it (pip install -r requirements.txt brings what it imports), or uninstall it and run this again"
        ) from error
    return f"detectron2 {detectron2.__version__} in {Path(spec.origin).parent}"


def python(*arguments: str | Path) -> None:
    """Run this Python with ``arguments``; raises UserError with the reason it gave if it fails."""
    done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        reason = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
        raise UserError(
            f"python {' '.join(map(str, arguments[:3]))} failed ({reason}); repair that, "
            f"or install upstream's own detectron2 (see --help)"
        )


def download(folder: Path) -> Path:
    """The published wheel, in ``folder``. pip is told the wheel's own tags, which fit no Python of today."""
    tags = ["--python-version=3.10", "--implementation=cp", "--abi=none", "--platform=any"]
    python("-m", "pip", "download", "--no-deps", "--only-binary=:all:", *tags, "--dest", folder, f"{NAME}=={VERSION}")
    return next(folder.glob("*.whl"))


def verified(wheel: Path, expected: str = SHA256) -> Path:
    """The same path; raises UserError unless the file has the expected SHA-256."""
    found = sha256(wheel)
    if found != expected:
        raise UserError(
            f"{wheel.name} has SHA-256 {found}, expected {expected}: not the package that was "
            f"examined, so it is not installed; see whether the package index can be trusted"
        )
    return wheel


def rebuild(wheel: Path, folder: Path) -> Path:
    """A wheel in ``folder`` with the Python files of ``wheel`` alone, for any Python 3."""
    python("-m", "wheel", "unpack", wheel, "--dest", folder)
    root = next(path for path in folder.iterdir() if path.is_dir())
    for library in root.glob("detectron2/_C*.so"):
        library.unlink()
    shutil.rmtree(root / "tools")  # scripts of the repository, which would be importable as `tools`

    info = next(root.glob("*.dist-info")).rename(root / f"{NAME.replace('-', '_')}-{REBUILT}.dist-info")
    (info / "WHEEL").write_text(WHEEL)
    (info / "top_level.txt").write_text("detectron2\n")
    metadata = (info / "METADATA").read_text(encoding="utf-8")
    metadata = metadata.replace(f"\nVersion: {VERSION}\n", f"\nVersion: {REBUILT}\n")
    for stale, right in REQUIREMENTS.items():
        metadata = metadata.replace(f"\nRequires-Dist: {stale}\n", f"\nRequires-Dist: {right}\n")
    (info / "METADATA").write_text(metadata, encoding="utf-8")

    python("-m", "wheel", "pack", root, "--dest-dir", folder)
    return folder / f"{info.stem}-py3-none-any.whl"


def parser() -> Parser:
    return Parser(
        prog="install_detectron2.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line, which has no options."""
    return parser().parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Keep the Detectron2 that is there, or install one."""
    parse(argv)
    if found := installed():
        print(f"{found}: kept")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        published, rebuilt = Path(temporary, "published"), Path(temporary, "rebuilt")
        wheel = rebuild(verified(download(published)), rebuilt)
        python("-m", "pip", "install", "--no-deps", wheel)
    print(f"{installed()}: installed from {NAME} {VERSION} without compiled operators (upstream's own way: --help)")
    return 0


if __name__ == "__main__":
    run(main)
