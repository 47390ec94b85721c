"""``features.safetensors``: what a backbone makes of labelled images, extracted once and read by every measure.

Tensors: ``features`` (n, d), ``labels`` (n,) int64 with -1 for none, ``names`` (UTF-8, one name a line) and, where
random views were asked for, ``views`` (n, V, d). The metadata is one JSON object: ``format``, ``classes``, ``layer``,
``benchmark``, the run (``method``, ``recipe``, ``variant``, ``epochs``, ``seed``, ``step``), ``weights_sha256``,
``images_sha256``, ``n``, ``commit`` and the settings of the extraction.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from analysis.extraction.choice import choose
from analysis.figures.titles import title_of
from runtime.command_line import UserError, shortened
from runtime.files import replacing
from runtime.read import parse_json

FORMAT = "ssl-transfer-bench/features/1"


@dataclass(frozen=True)
class Features:
    """Rows of features with what is known of them; ``about`` is the metadata."""

    h: Tensor
    """(n, d), float64."""
    y: Tensor
    """(n,) class numbers, -1 where there are none."""
    names: list[str]
    views: Tensor | None
    """(n, V, d), float64: V random views of each image."""
    about: dict

    @property
    def title(self) -> str:
        """The row's name as tables give it, without the seed."""
        return title_of(self.about["method"], self.about.get("variant", ""))

    def need_classes(self, *, least: int = 2) -> "Features":
        """These features, or a UserError where there are no labels, one class, or a class below ``least`` images."""
        if (self.y < 0).any():
            raise UserError(f"{self.about['path']} has no labels; extract from class folders, or with --labels CSV")
        counts = torch.bincount(self.y, minlength=len(self.about["classes"]))
        present = [(int(count), name) for count, name in zip(counts, self.about["classes"], strict=True) if count]
        if len(present) < 2:
            raise UserError(f"{self.about['path']} has one class ({present[0][1]}); measures of classes need two")
        if min(present)[0] < least:
            raise UserError(
                f"{self.about['path']}: class {min(present)[1]!r} has {min(present)[0]} of the {least} images it "
                f"needs; extract more of it, or leave it out"
            )
        return self

    def equalised(self, per_class: int | None, *, seed: int) -> tuple[Tensor, Tensor | None, int]:
        """Rows, labels and n: every class with the same n images, the smallest's or ``per_class``.

        Where there are no labels all rows, None and 0. Raises UserError below two images, where all features are
        the same, and for a ``per_class`` that not every class has.
        """
        if len(self.h) < 2:
            raise UserError(f"{self.about['path']} holds {len(self.h)} image; a rank needs at least 2")
        if (self.h == self.h[0]).all():
            raise UserError(f"{self.about['path']}: all images have the same features (collapse); nothing to measure")
        if (self.y < 0).all():
            if per_class:
                raise UserError(f"{self.about['path']} has no labels; leave out --per-class")
            return self.h, None, 0
        self.need_classes()
        smallest = int(self.y.unique(return_counts=True)[1].min())
        n = per_class or smallest
        if not 2 <= n <= smallest:
            raise UserError(f"--per-class must lie between 2 and the {smallest} images of the smallest class, got {n}")
        chosen = choose(self.y.tolist(), n, seed)
        return self.h[chosen], self.y[chosen], n


def images_sha256(names: list[str], labels: list[int]) -> str:
    """What tells two sets of images apart: their names and labels, in order."""
    return hashlib.sha256(json.dumps([names, labels]).encode()).hexdigest()


def write(
    path: str | Path, h: Tensor, *, labels: list[int], names: list[str], views: Tensor | None, about: dict
) -> None:
    """Write a feature file, whole or not at all."""
    tensors = {"features": h.contiguous(), "labels": torch.tensor(labels)}
    # One name a line: a line break in a file's name, and bytes that are no UTF-8, are written as escapes.
    lines = "\n".join(name.replace("\n", "\\n") for name in names).encode("utf-8", "backslashreplace")
    tensors["names"] = torch.frombuffer(bytearray(lines), dtype=torch.uint8)
    if views is not None:
        tensors["views"] = views.contiguous()
    about = {"format": FORMAT, **about, "n": len(names), "images_sha256": images_sha256(names, labels)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"about": json.dumps(about)})


def read(path: str | Path) -> Features:
    """Read a feature file.

    Raises UserError where it is none or a damaged one, and where features are not finite (naming the images).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no features at {path}; extract them with analysis/features.py")
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get("about", "{}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        reason = shortened(str(error), 80)
        raise UserError(f"{path} is no feature file, or a damaged one ({reason}); extract it again") from error
    about = parse_json(text, f"{path} (its metadata)", remedy="extract it again")
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise UserError(f"{path} holds no features of analysis/features.py; extract them with it")
    if fault := _fault(tensors, about):
        raise UserError(f"{path} is a damaged feature file: {fault}; extract it again")
    names = bytes(tensors["names"].numpy()).decode("utf-8", "backslashreplace").split("\n")
    refuse_bad_rows(tensors["features"], names, where=str(path))
    views = tensors["views"].double() if "views" in tensors else None
    if views is not None:
        refuse_bad_rows(views.flatten(1), names, where=str(path))
    return Features(tensors["features"].double(), tensors["labels"], names, views, {**about, "path": str(path)})


ABOUT = {
    "classes": list, "layer": str, "backbone": str, "benchmark": str,
    "method": str, "recipe": str, "variant": str, "epochs": int,
    "seed": int, "step": int, "weights_sha256": str, "images_sha256": str, "n": int, "commit": str, "settings": dict,
}  # fmt: skip
"""What the metadata says, if it says it, and of which type."""


def _fault(tensors: dict[str, Tensor], about: dict) -> str | None:
    """What is wrong with the content of a feature file; None if nothing is."""
    if absent := [name for name in ("features", "labels", "names") if name not in tensors]:
        return f"it lacks {absent[0]}"
    for key, kind in ABOUT.items():
        if key in about and type(about[key]) is not kind:
            return f"its {key} is {shortened(repr(about[key]), 40)}, expected {kind.__name__}"
    h, y, names, views = tensors["features"], tensors["labels"], tensors["names"], tensors.get("views")
    if h.dim() != 2 or 0 in h.shape or not h.is_floating_point():
        return f"its features are {tuple(h.shape)} of {h.dtype}"
    n, classes = len(h), about.get("classes", [])
    if y.shape != (n,) or y.dtype != torch.int64 or names.dtype != torch.uint8 or names.dim() != 1:
        return f"it has {n} rows and {tuple(y.shape)} labels of {y.dtype}"
    if bytes(names.numpy()).count(b"\n") + 1 != n:
        return f"it has {n} rows and another number of names"
    if classes and (int(y.max()) >= len(classes) or not all(isinstance(name, str) for name in classes)):
        return f"its labels reach {int(y.max())} and it has {len(classes)} classes"
    if views is not None and (views.dim() != 3 or views.shape[1] < 2 or views.shape[::2] != h.shape):
        return f"its views are {tuple(views.shape)}, its features {tuple(h.shape)}"
    return None


def refuse_bad_rows(rows: Tensor, names: list[str], *, where: str) -> None:
    """UserError naming the images whose features are not finite numbers."""
    bad = (~torch.isfinite(rows).all(1)).nonzero().flatten().tolist()
    if bad:
        shown = ", ".join(names[i] for i in bad[:3]) + (f" and {len(bad) - 3} more" if len(bad) > 3 else "")
        raise UserError(f"{where}: the features of {len(bad)} of {len(rows)} images are not finite ({shown})")


def need_same(a: Features, b: Features, *keys: str) -> None:
    """UserError unless two files agree on ``keys`` of their metadata, for example ``weights_sha256``."""
    words = {"weights_sha256": "backbones", "images_sha256": "images", "layer": "layers"}
    for key in keys:
        if a.about.get(key) != b.about.get(key):
            raise UserError(
                f"{a.about['path']} and {b.about['path']} are features of different {words.get(key, key)} "
                f"({str(a.about.get(key))[:12]} and {str(b.about.get(key))[:12]}); extract both alike"
            )
