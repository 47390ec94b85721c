"""The code as it was when a job was submitted, and the recipe: a copy in the runs folder, so that an edit meanwhile
changes nothing.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from runtime import provenance
from runtime.command_line import UserError
from runtime.job_graph import Job
from runtime.provenance import ROOT
from slurm.planning.reuse import own_files


def take(runs: Path, jobs: Sequence[Job] = ()) -> Path:
    """Copy the packages and the recipes that ``jobs`` name by path to ``runs/.code/<hash>``, or find them there.

    Returns that folder, absolute. Raises UserError where it cannot be written.
    """
    contents = read(jobs)
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
        if not folder.exists():  # else another process was quicker with the same code
            raise UserError(
                f"cannot copy the code to {folder}: {error.strerror}; choose another --runs folder, or --live-code"
            ) from error
    return folder


def read(jobs: Sequence[Job] = ()) -> dict[Path, bytes]:
    """Path in the copy -> content of every file that a job may need."""
    given = dict.fromkeys(word for job in jobs for word in own_files(job.argv))
    code = {path: (ROOT / path).read_bytes() for path in provenance.files()}
    return code | {provenance.copy_of(word): Path(word).read_bytes() for word in given}


def folder_of(runs: Path, contents: Mapping[Path, bytes]) -> Path:
    """Where the copy of this code lies, or would lie: equal code of one commit has one copy."""
    digest = hashlib.sha256(provenance.commit().encode())
    for path, content in contents.items():
        digest.update(f"{path} {len(content)} ".encode() + content)
    return runs.absolute() / ".code" / digest.hexdigest()[:16]
