"""The code as it was when a job was submitted: a copy in the runs folder, so that an edit meanwhile changes nothing."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from pretrain import provenance
from pretrain.command_line import UserError
from pretrain.provenance import ROOT


def take(runs: Path) -> Path:
    """Copy the four packages to ``runs/.code/<hash>``, or find them there; return that folder, absolute.

    Raises UserError where the folder cannot be written.
    """
    contents = read()
    folder = folder_of(runs, contents)
    if folder.exists():
        return folder
    building = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        for path, content in contents.items():
            (building / path).parent.mkdir(parents=True, exist_ok=True)
            (building / path).write_bytes(content)
        (building / provenance.SNAPSHOT.name).write_text(json.dumps({"commit": provenance.commit()}) + "\n")
        building.rename(folder)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        if not folder.exists():  # else somebody else was quicker with the same code
            raise UserError(f"cannot copy the code to {folder}: {error.strerror}; mend that, or --live-code") from error
    return folder


def read() -> dict[Path, bytes]:
    """Path below ROOT -> content of every file that a job may need."""
    return {path: (ROOT / path).read_bytes() for path in provenance.files()}


def folder_of(runs: Path, contents: Mapping[Path, bytes]) -> Path:
    """Where the copy of this code lies, or would lie: equal code of one commit has one copy."""
    digest = hashlib.sha256(provenance.commit().encode())
    for path, content in contents.items():
        digest.update(f"{path} {len(content)} ".encode() + content)
    return runs.absolute() / ".code" / digest.hexdigest()[:16]
