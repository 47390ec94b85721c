"""The doctor: each trap is named with its remedy, a healthy machine has none, no fault is a traceback."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tools import doctor

DOCTOR = Path(doctor.__file__)


def fault(check) -> doctor.Finding:
    finding = doctor.examine("what", check, "remedy")
    assert finding.level == "FAIL", finding
    return finding


@pytest.fixture
def module(monkeypatch):
    """Puts a stand-in of the given name where `import` finds it first; without attributes, the import fails."""

    def place(name: str, **attributes):
        fake = ModuleType(name)
        vars(fake).update(attributes)
        monkeypatch.setitem(sys.modules, name, fake if attributes else None)

    return place


@pytest.mark.parametrize(
    "check",
    ["torch_pair", "cuda", "pkg_resources", "omegaconf", "pycocotools", "libraries", "language_extra"]
    + ["detectron2", "detectron2_pillow", "detectron2_numpy", "detectron2_operators"],
)
def test_the_environment_that_runs_the_tests_is_healthy(check):
    assert doctor.examine(check, getattr(doctor, check), "").level == "ok"


def test_a_torchvision_built_for_another_torch_is_found_by_calling_nms(module):
    def nms(*arguments):
        raise RuntimeError("operator torchvision::nms does not exist")

    module("torchvision", ops=SimpleNamespace(nms=nms), __version__="0.28")
    assert "torchvision::nms" in fault(doctor.torch_pair).result


def test_setuptools_without_pkg_resources(module):
    module("pkg_resources")
    module("setuptools", __version__="84.2.1")
    assert fault(doctor.pkg_resources).result == "setuptools 84.2.1 has no pkg_resources"


@pytest.mark.parametrize(("version", "level"), [("2.3.1", "ok"), ("2.4.0.dev1", "FAIL"), ("3.0.0", "FAIL")])
def test_omegaconf_from_2_4_on_is_too_new(module, version, level):
    module("omegaconf", __version__=version)
    assert doctor.examine("omegaconf", doctor.omegaconf, "").level == level


def test_pycocotools_compiled_for_another_numpy(module):
    def encode(mask):
        raise ValueError("numpy.dtype size changed, may indicate binary incompatibility\nmore")

    module("pycocotools.mask", encode=encode, area=None)
    module("pycocotools", mask=sys.modules["pycocotools.mask"])
    assert fault(doctor.pycocotools).result == "numpy.dtype size changed, may indicate binary incompatibility"


def test_a_detectron2_older_than_numpy_1_24(module):
    def polygons_to_bitmask(*arguments):
        raise AttributeError("module 'numpy' has no attribute 'bool'")

    module("detectron2.structures.masks", polygons_to_bitmask=polygons_to_bitmask)
    module("detectron2.structures", masks=sys.modules["detectron2.structures.masks"])
    assert "'bool'" in fault(doctor.detectron2_numpy).result


def test_a_gpu_that_torch_cannot_use_is_a_warning(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert doctor.examine("CUDA", doctor.cuda, "").level == "warn"


def test_an_incomplete_coco_names_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    assert "nowhere is not a folder" in fault(doctor.coco).result

    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for name in doctor.COCO[:3]:
        (tmp_path / "coco" / name).mkdir(parents=True)
    finding = doctor.examine("COCO", doctor.coco, "")
    assert (finding.level, finding.result) == ("warn", f"{tmp_path}/coco lacks val2017")

    (tmp_path / "coco/val2017").mkdir()
    assert doctor.examine("COCO", doctor.coco, "").level == "ok"


def test_imagenet_validation_images_must_lie_in_class_folders(tmp_path):
    (tmp_path / "train/n01440764").mkdir(parents=True)
    assert fault(lambda: doctor.imagenet(tmp_path)).result == f"{tmp_path} has no folder val/"
    (tmp_path / "val").mkdir()
    (tmp_path / "val/ILSVRC2012_val_00000001.JPEG").touch()
    assert fault(lambda: doctor.imagenet(tmp_path)).result == f"{tmp_path}/val has no class folders"
    (tmp_path / "val/n01443537").mkdir()
    assert "first: n01440764" in fault(lambda: doctor.imagenet(tmp_path)).result
    (tmp_path / "val/n01443537").rename(tmp_path / "val/n01440764")
    assert doctor.imagenet(tmp_path) == f"{tmp_path}: 1 classes in train/ and val/"


@pytest.mark.parametrize(("gib", "level"), [(1, "FAIL"), (5, "warn"), (500, "ok")])
def test_disk_is_measured_where_the_runs_will_be(tmp_path, monkeypatch, gib, level):
    measured = []

    def disk_usage(folder):
        measured.append(folder)
        return SimpleNamespace(free=gib << 30)

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)
    assert doctor.examine("disk", lambda: doctor.disk(tmp_path / "not/yet/there"), "").level == level
    assert measured == [tmp_path]


@pytest.fixture
def sinfo(tmp_path, monkeypatch):
    """Puts a `sinfo` with the given body on the PATH."""

    def place(body: str) -> None:
        program = tmp_path / "sinfo"
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    return place


def test_slurm_that_answers_names_its_partitions(sinfo):
    sinfo("echo gpu; echo cpu; echo gpu")
    assert doctor.slurm() == "answers; partitions: cpu, gpu"


def test_slurm_that_refuses_or_hangs_is_a_fault(sinfo, monkeypatch):
    sinfo("echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1")
    assert "Unable to contact slurm controller" in fault(doctor.slurm).result
    monkeypatch.setattr(doctor, "ANSWER_S", 0.2)
    sinfo("exec sleep 20")
    assert fault(doctor.slurm).result == "sinfo gave no answer in 0.2 s"


def test_no_slurm_is_no_fault(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.slurm() == "none: jobs run on this machine"


def test_a_machine_with_nothing_installed_gets_a_remedy_on_every_faulty_line():
    bare = [sys.executable, "-I", "-S", str(DOCTOR)]  # -S: without site-packages
    done = subprocess.run(bare, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "")
    faults = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert {"torch", "detectron2", "pkg_resources"} <= {line.split()[1] for line in faults}
    assert all("  -> " in line for line in faults)
    assert "detectron2, numpy" not in done.stdout  # one cause, one line


def test_a_python_too_old_is_one_line():
    old = f"import sys, runpy; sys.version_info = (3, 9, 2); runpy.run_path({str(DOCTOR)!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "make setup PYTHON=python3.10" in done.stderr


def test_the_exit_code_says_whether_something_must_be_fixed(monkeypatch, capsys):
    finding = doctor.Finding("warn", "disk", "5.0 GiB free", "free some space")
    monkeypatch.setattr(doctor, "report", lambda runs, imagenet: [finding])
    assert doctor.main([]) == 0
    monkeypatch.setattr(doctor, "report", lambda runs, imagenet: [finding, finding._replace(level="FAIL")])
    assert doctor.main([]) == 1
    assert capsys.readouterr().out.splitlines() == ["nothing to fix", "to fix: disk"]
