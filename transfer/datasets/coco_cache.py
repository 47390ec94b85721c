"""COCO json files made from other layouts, once: every later step of the suite reads one format only.

They lie in a cache folder of the user (the SSL_TRANSFER_CACHE variable, else XDG_CACHE_HOME, else ~/.cache), because
data sets are often read-only. A file's name ends in a hash of what it was made from: paths, sizes, times of change.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from runtime.files import write_text

RULE = 1
"""Rises when a conversion changes, so that files of the old one are not taken for those of the new one."""


def cache() -> Path:
    """The folder for what can be made again."""
    own = os.environ.get("SSL_TRANSFER_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ssl-transfer-bench"


def derive(name: str, sources: Iterable[Path], make: Callable[[], dict], *, metric: str = "coco") -> Path:
    """The cached json ``name``, made by ``make`` if it was not made from these ``sources`` before.

    Args:
        sources: every file and folder whose change makes the json out of date.
        make: returns COCO's object of images, annotations and categories.
        metric: how predictions on it are scored; the file says so itself, in ``info.metric``.
    """
    digest = hashlib.sha256(f"{RULE} {name}".encode())
    for source in sources:
        state = source.stat()
        digest.update(f"\n{source.resolve()} {state.st_size} {state.st_mtime_ns}".encode())
    path = cache() / f"{name}-{digest.hexdigest()[:16]}.json"
    if not path.exists():
        content = make()
        parts = {key: content[key] for key in ("images", "annotations", "categories")}
        write_text(path, json.dumps({"info": {"metric": metric}, **parts}))
    return path
