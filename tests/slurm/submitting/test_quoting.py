"""Whatever a user calls things, a batch script is one that bash reads, and nothing but the job is run by it."""

import json
import os
import shlex
import string
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from runtime.command_line import UserError
from runtime.job_graph import Job, Resources
from slurm.planning.rows import folder_fault
from slurm.submitting import export, quoting
from slurm.submitting.cluster import Cluster

RUN = "cd ..;touch canary"
HOSTILE = [
    f"$({RUN})",
    f"`{RUN}`",
    f'a";{RUN};"',
    f"a';{RUN};'",
    f"a\n{RUN}\n#",
    f"a;{RUN} #",
    "a b",
    "-dash",
    "a{x}%j",
]
HOSTILE += ["é\u202e", "\x1b[2J", "$HOME", "${IFS}", "!!", "~", "*", "\\", "#", "a=b", "'", '"', "&", "|", "<(x)"]
NAMES = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.sampled_from(string.punctuation + " \tab\n$`"), min_size=1, max_size=12),
    st.text(min_size=1, max_size=12),
)
FEW = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def shell(folder: Path, script: str) -> subprocess.CompletedProcess:
    """Run a script in a folder, where `srun`, `sbatch` and their like do nothing."""
    commands = folder / "bin"
    commands.mkdir(exist_ok=True)
    for name, line in {"srun": "exit 0", "sbatch": "echo 77", "scontrol": "exit 0", "apptainer": "exit 0"}.items():
        (commands / name).write_text(f"#!/bin/sh\n{line}\n")
        (commands / name).chmod(0o755)
    place = {"PATH": f"{commands}:{os.environ['PATH']}", "SLURM_JOB_ID": "77", "SLURM_JOB_NUM_NODES": "1"}
    (folder / "script.sh").write_text(script)
    return subprocess.run(["bash", "script.sh"], cwd=folder, env=os.environ | place, capture_output=True, text=True)


@given(text=st.one_of(NAMES, NAMES.map(lambda name: f"/a/$USER/{name}")).filter(lambda text: "\0" not in text))
@FEW
def test_a_shell_word_is_one_word_with_its_variables_filled_in(text):
    assume({match[1] or match[2] for match in quoting.VARIABLE.finditer(text)} <= {"USER"} and "${" not in text)
    printed = subprocess.run(
        ["sh", "-c", f"printf %s {quoting.shell_word(text)}"], env={"USER": "me"}, capture_output=True, check=True
    )
    assert printed.stdout.decode() == text.replace("$USER", "me")


def job_of(name: str, runs: Path) -> Job:
    return Job(
        name=f"row/{name}",
        stage="transfer",
        module="transfer.train",
        argv=("--out", name),
        folder=runs / "row" / name,
        outputs=(),
        resources=Resources(gpus=2),
        row="row",
    )


@given(name=NAMES, runs=NAMES, value=NAMES, place=NAMES)
@example(name="a", runs=f"a$({RUN})", value="a", place="a")
@example(name=f"$({RUN})", runs="a", value=f"x;{RUN}", place=f"/tmp/$({RUN})")
@example(name=f'x";{RUN};"', runs=f'x";{RUN};"', value=f"'; {RUN}; '", place=f"img; {RUN}")
@example(name="a", runs="a", value=f"x\n{RUN} #", place=f"`{RUN}`")
@FEW
def test_no_name_is_run_by_a_batch_script_or_by_the_script_that_submits_it(tmp_path_factory, name, runs, value, place):
    """Either refused with lines that can be printed, or scripts that run nothing but SLURM's commands."""
    folder = tmp_path_factory.mktemp("case")
    (folder / "work").mkdir()
    cluster = Cluster(
        name="c",
        executor="slurm",
        partition=value,
        account=value,
        constraint=value,
        scratch=place,
        container=place,
        python=place,
        extra={"comment": value},
    )
    home = folder / "work" / runs.replace("/", "").replace("\0", "")
    if folder_fault("benchmark", name):
        return
    try:
        before = Path.cwd()
        os.chdir(folder / "work")
        written = export.write(
            home, [job_of(name, home)], done=set(), cluster=cluster, code=home / ".code", folder=folder / "work" / "out"
        )
    except UserError as error:
        assert all(len(fault) < 2000 for fault in error.faults)
        return
    finally:
        os.chdir(before)
    (script,) = sorted(written.parent.glob("0*.sh"))
    for path in (written, script):
        parsed = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True)
        assert parsed.returncode == 0, parsed.stderr
    sent = shell(folder / "work", f"sh {shlex.quote(str(written))}")
    assert sent.returncode == 0 and "job 77" in sent.stdout, sent
    record = json.loads((home / "jobs" / "row" / name / "submitted.json").read_text())
    assert record["job_id"] == "77" and record["argv"] == ["--out", name]
    shell(folder / "work", script.read_text())
    assert not list(folder.rglob("canary"))
    options = [line for line in script.read_text().splitlines() if line.startswith("#SBATCH --comment=")]
    assert [shlex.split(line)[1] for line in options] == [f"--comment={value}"]


@pytest.mark.parametrize("key, value", [("a b", "x"), ("x\ntouch canary", "y"), ("mail-user", "a\nb"), ("", "x")])
def test_an_option_that_no_line_of_sbatch_can_hold_is_refused(key, value):
    with pytest.raises(UserError, match="cluster mine"):
        quoting.sbatch_option(key, value, source="cluster mine")


@pytest.mark.parametrize("folder", ["/a%j/b", "/a\\b", "/a\nb", "/\x1b[2J"])
def test_a_folder_whose_name_slurm_would_change_holds_no_logs(folder):
    with pytest.raises(UserError, match="cannot hold logs"):
        quoting.log_folder(folder)


@pytest.mark.parametrize("value", HOSTILE)
def test_a_cluster_file_with_a_hostile_value_is_one_fault_or_a_script_that_can_be_read(suite, tmp_path, value, capsys):
    keys = {"executor": "slurm", "partition": value, "scratch": value, "container": value, "python": value}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(keys))
    try:
        suite.main("--cluster", str(tmp_path / "mine.yaml"), "--dry-run")
    except UserError as error:
        assert all(fault.isprintable() for fault in error.faults)
        return
    for script in capsys.readouterr().out.split("---- script ")[1:]:
        text = script.partition("\n")[2].partition("\n\nasks for ")[0]
        assert subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True).returncode == 0
