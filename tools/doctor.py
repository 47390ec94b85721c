"""Checks this machine: one line for each thing that could be wrong, with what was found and its remedy."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
if sys.version_info < (3, 10):  # noqa: UP036 - the packages cannot even be imported then
    sys.exit(f"FAIL  Python {platform.python_version()}  -> make setup PYTHON=python3.10, or a newer one")
sys.path.append(str(ROOT))  # it has to run where the suite is not installed, and say so

from runtime.command_line import Parser, run  # noqa: E402

ANSWER_S = 5.0
"""Seconds that SLURM gets to answer."""

GIB = 1 << 30
COCO = ("annotations/instances_train2017.json", "annotations/instances_val2017.json", "train2017", "val2017")
LANGUAGE = ("transformers", "tokenizers", "accelerate", "gguf", "peft")
LIBRARIES = ("cv2", "hotcoco", "matplotlib", "safetensors", "submitit", "tensorboard", "yaml")


class Finding(NamedTuple):
    """One line of the report; ``level`` is "ok", "warn" or "FAIL"."""

    level: str
    subject: str
    result: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"{self.level:<5} {self.subject:<22} {self.result}"
        return f"{line}  -> {self.remedy}" if self.remedy else line


def examine(subject: str, check: Callable[[], str], remedy: str) -> Finding:
    """Run ``check``: what it returns is fine; a Warning it raises is one, any other exception a fault."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside the libraries are nothing the user can change
            return Finding("ok", subject, check())
    except Exception as problem:
        result = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        return Finding("warn" if isinstance(problem, Warning) else "FAIL", subject, result, remedy)


def python() -> str:
    return f"{platform.python_version()} ({sys.executable})"


def suite() -> str:
    """A job is unpickled on its node by import, so the packages must resolve from any folder."""
    command = [sys.executable, "-c", "import pretrain; print(pretrain.__file__)"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError("the packages of this checkout are not installed")
    found = Path(done.stdout.strip()).resolve().parent.parent
    if found != ROOT:
        raise RuntimeError(f"Python imports the checkout in {found}, not this one")
    return f"installed from {found}"


def torch_pair() -> str:
    """torchvision's compiled operators load only beside a torch they were built for."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]])
    torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5)
    return f"{torch.__version__} + {torchvision.__version__}, nms runs"


def cuda() -> str:
    import torch
    import torchvision

    if not torch.cuda.is_available():
        if shutil.which("nvidia-smi"):
            raise UserWarning(f"torch {torch.__version__} finds no GPU, though nvidia-smi is here")
        return "no GPU: runs on the CPU"
    torchvision.ops.nms(torch.zeros(1, 4, device="cuda"), torch.zeros(1, device="cuda"), 0.5)
    names = [torch.cuda.get_device_name(device) for device in range(torch.cuda.device_count())]
    return f"{len(names)} x {', '.join(sorted(set(names)))}, nms runs"


def pkg_resources() -> str:
    """detectron2's model zoo imports it, and setuptools 82 removed it."""
    import setuptools

    try:
        importlib.import_module("pkg_resources")
    except ImportError as error:
        raise RuntimeError(f"setuptools {setuptools.__version__} has no pkg_resources") from error
    return f"in setuptools {setuptools.__version__}"


def omegaconf() -> str:
    import omegaconf

    major, minor = omegaconf.__version__.split(".")[:2]
    if (int(major), int(minor)) >= (2, 4):
        raise RuntimeError(f"{omegaconf.__version__}, but detectron2 and hydra-core need one before 2.4")
    return omegaconf.__version__


def pycocotools() -> str:
    """One compiled for another numpy fails at import or at the first mask."""
    import numpy
    from pycocotools import mask

    area = mask.area(mask.encode(numpy.ones((4, 4), dtype=numpy.uint8, order="F")))
    if area != 16:
        raise RuntimeError(f"a mask of 16 pixels has area {area}")
    return f"works with numpy {numpy.__version__}"


def detectron2() -> str:
    import detectron2

    return f"{detectron2.__version__} in {Path(detectron2.__file__).parent}"


def detectron2_pillow() -> str:
    """0.6 and its forks name Image.LINEAR, which Pillow 10 removed."""
    import numpy
    import PIL
    from detectron2.data import transforms

    transforms.ResizeTransform(4, 4, 8, 8).apply_image(numpy.zeros((4, 4, 3), dtype=numpy.uint8))
    return f"resizes with Pillow {PIL.__version__}"


def detectron2_numpy() -> str:
    """0.6 and its forks use numpy.bool, which numpy 1.24 removed."""
    import numpy
    from detectron2.structures import masks

    masks.polygons_to_bitmask([numpy.array([0.0, 0.0, 4.0, 0.0, 4.0, 4.0])], 8, 8)
    return f"draws masks with numpy {numpy.__version__}"


def detectron2_operators() -> str:
    if importlib.util.find_spec("detectron2._C") is None:
        return "none: needed for rotated boxes, deformable convolution and its C++ evaluator only"
    try:
        importlib.import_module("detectron2._C")
    except ImportError as error:
        raise UserWarning(f"there, but they do not load: {error}") from error
    return "load"


def libraries() -> str:
    for name in LIBRARIES:
        importlib.import_module(name)
    return "import"


def language_extra() -> str:
    """What language/ needs; the rest of the suite does without it."""
    if missing := [name for name in LANGUAGE if importlib.util.find_spec(name) is None]:
        return f"no {', '.join(missing)}: none of language/ (make setup EXTRAS=language)"
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LANGUAGE)


def coco() -> str:
    root = os.environ.get("DETECTRON2_DATASETS")
    if not root:
        return "DETECTRON2_DATASETS is not set: no coco_2017, the drawn scenes need none"
    if not Path(root).is_dir():
        raise NotADirectoryError(f"DETECTRON2_DATASETS={root} is not a folder")
    missing = [name for name in COCO if not Path(root, "coco", name).exists()]
    if missing:
        raise UserWarning(f"{Path(root, 'coco')} lacks {', '.join(missing)}")
    return f"{Path(root, 'coco')} is complete"


def imagenet(root: Path) -> str:
    """Class folders, the same ones, in train/ and val/."""
    classes = {}
    for split in ("train", "val"):
        folder = root / split
        if not folder.is_dir():
            raise NotADirectoryError(f"{root} has no folder {split}/")
        with os.scandir(folder) as entries:
            classes[split] = {entry.name for entry in entries if entry.is_dir()}
        if not classes[split]:
            raise NotADirectoryError(f"{folder} has no class folders")
    if classes["train"] != classes["val"]:
        unpaired = sorted(classes["train"] ^ classes["val"])
        raise FileNotFoundError(
            f"{len(unpaired)} classes are not in both train/ and val/ of {root}, first: {unpaired[0]}"
        )
    return f"{root}: {len(classes['train'])} classes in train/ and val/"


def disk(runs: Path) -> str:
    """A run of ResNet-50 keeps about a GiB of weights and optimiser state."""
    folder = next(parent for parent in (runs.resolve(), *runs.resolve().parents) if parent.exists())
    if not os.access(folder, os.W_OK | os.X_OK) or not folder.is_dir():
        raise PermissionError(f"{folder} cannot be written to")
    free = shutil.disk_usage(folder).free / GIB
    if free < 2:
        raise OSError(f"{free:.1f} GiB free for {runs}, one run needs 2")
    if free < 20:
        raise UserWarning(f"{free:.1f} GiB free for {runs}, enough for a few runs")
    return f"{free:.0f} GiB free for {runs}"


def slurm() -> str:
    if shutil.which("sinfo") is None:
        return "none: jobs run on this machine"
    try:
        done = subprocess.run(["sinfo", "-h", "-o", "%R"], capture_output=True, text=True, timeout=ANSWER_S)
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"sinfo gave no answer in {ANSWER_S:g} s") from error
    if done.returncode:
        raise ConnectionError(f"sinfo failed: {done.stderr.strip()}")
    return f"answers; partitions: {', '.join(sorted(set(done.stdout.split()))) or 'none'}"


def report(runs: Path, imagenet_root: Path | None) -> list[Finding]:
    """Every check, in the order in which to fix things; "detectron2, numpy" only where "detectron2" is fine."""
    requirements = "make setup, or pip install -r requirements.txt"
    installer = "python transfer/install_detectron2.py"
    newer = f"pip uninstall detectron2, then {installer}"
    checks = [
        ("Python", python, ""),
        ("this suite", suite, f"in {ROOT}: {requirements}"),
        ("torch", torch_pair, f"install torch and torchvision together, from one index: {requirements}"),
        ("torch, CUDA", cuda, "a torch built for this driver (nvidia-smi prints its CUDA version), or a newer driver"),
        ("pkg_resources", pkg_resources, "pip install 'setuptools<82'"),
        ("omegaconf", omegaconf, "pip install 'omegaconf<2.4'"),
        ("pycocotools", pycocotools, "pip install --force-reinstall --no-cache-dir --no-deps pycocotools"),
        ("detectron2", detectron2, installer),
        ("detectron2, Pillow", detectron2_pillow, newer),
        ("detectron2, numpy", detectron2_numpy, newer),
        ("detectron2, compiled", detectron2_operators, f"do without, or build them again: {installer} --help"),
        ("other libraries", libraries, requirements),
        ("language extra", language_extra, "make setup EXTRAS=language"),
        ("COCO", coco, "DETECTRON2_DATASETS is the folder that holds coco/, laid out as detectron2 documents"),
        ("disk", lambda: disk(runs), "free some space, or choose another folder: --runs DIR"),
        ("SLURM", slurm, "ask the cluster's staff, or stay on this machine: run_all.py --cluster local"),
    ]
    if imagenet_root:
        layout = "sort the images into train/CLASS/ and val/CLASS/, the same classes in both"
        checks.insert(-2, ("ImageNet", lambda: imagenet(imagenet_root), layout))
    findings = []
    for subject, check, remedy in checks:
        if not any(finding.level == "FAIL" and subject.startswith(f"{finding.subject},") for finding in findings):
            findings.append(examine(subject, check, remedy))
            print(findings[-1], flush=True)
    return findings


def main(argv: list[str] | None = None) -> int:
    """Print the report; 1 if a check failed, else 0."""
    parser = Parser(description=__doc__)
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs go (default: runs)")
    parser.add_argument("--imagenet", type=Path, metavar="DIR", help="an ImageNet root to check: train/ and val/")
    options = parser.parse_args(argv)
    faults = [finding.subject for finding in report(options.runs, options.imagenet) if finding.level == "FAIL"]
    print(f"to fix: {'; '.join(faults)}" if faults else "nothing to fix")
    return 1 if faults else 0


if __name__ == "__main__":
    run(main)
