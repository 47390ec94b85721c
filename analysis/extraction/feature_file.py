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

from pretrain import methods
from runtime.command_line import UserError
from runtime.files import replacing

FORMAT = "ssl-transfer-bench/features/1"


def title_of(method: str, variant: str) -> str:
    """``simsiam``, ``wide`` -> ``SimSiam (wide)``."""
    name = methods.title(method) if method in methods.available() else method
    return f"{name} ({variant})" if variant else name


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


def images_sha256(names: list[str], labels: list[int]) -> str:
    """What tells two sets of images apart: their names and labels, in order."""
    return hashlib.sha256(json.dumps([names, labels]).encode()).hexdigest()


def write(
    path: str | Path, h: Tensor, *, labels: list[int], names: list[str], views: Tensor | None, about: dict
) -> None:
    """Write a feature file, whole or not at all."""
    tensors = {"features": h.contiguous(), "labels": torch.tensor(labels)}
    tensors["names"] = torch.frombuffer(bytearray("\n".join(names).encode()), dtype=torch.uint8)
    if views is not None:
        tensors["views"] = views.contiguous()
    about = {"format": FORMAT, **about, "n": len(names), "images_sha256": images_sha256(names, labels)}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"about": json.dumps(about)})


def read(path: str | Path) -> Features:
    """Read a feature file.

    Raises UserError where it is none, and where features are not finite (naming the images).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no features at {path}; extract them with analysis/features.py")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is no feature file, or a damaged one ({error}); extract it again") from error
    if about.get("format") != FORMAT:
        raise UserError(f"{path} holds no features of analysis/features.py; extract them with it")
    names = bytes(tensors["names"].numpy()).decode().split("\n")
    refuse_bad_rows(tensors["features"], names, where=str(path))
    views = tensors["views"].double() if "views" in tensors else None
    if views is not None:
        refuse_bad_rows(views.flatten(1), names, where=str(path))
    return Features(tensors["features"].double(), tensors["labels"], names, views, {**about, "path": str(path)})


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
