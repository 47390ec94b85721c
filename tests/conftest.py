"""Data and processes that tests of several packages share."""

import os
import queue

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes that each spin two threads starve each other

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import cloudpickle
import hypothesis
import pytest
import torch
import torch.multiprocessing as mp

torch.set_num_threads(1)
ROOT = Path(__file__).resolve().parent.parent
TESTS = Path(__file__).resolve().parent

hypothesis.settings.register_profile("suite", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("suite")

STARTS_PROCESSES = {"command", "refused", "ranks", "killed"}
"""Fixtures whose tests are slow, because each start of a process imports torch."""


def pytest_collection_modifyitems(config, items):
    """Mark tests by where they are and what they use; with FUZZ_EXAMPLES, property tests try as many new inputs."""
    fuzz = int(os.environ.get("FUZZ_EXAMPLES", 0))
    for item in items:
        if STARTS_PROCESSES & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")
        if TESTS / "slurm/real" in item.path.parents:
            item.add_marker("slurm")
            if os.environ.get("PYTEST_XDIST_WORKER"):
                item.add_marker(pytest.mark.skip(reason="needs a real SLURM to itself: make slurm-up test-real"))
        if item.path.stem == "test_in_a_browser":
            item.add_marker("browser")
        if fuzz and (settings := getattr(item.function, "_hypothesis_internal_use_settings", None)):
            item.function._hypothesis_internal_use_settings = hypothesis.settings(
                settings, max_examples=fuzz, derandomize=False
            )


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """A drawn data set: 48 scenes of 64 pixels, 24 + 12 classified objects, 24 + 4 annotated scenes."""
    from pretrain.data import scenes

    out = tmp_path_factory.mktemp("data") / "scenes"
    scenes.write(out, images=48, size=64, seed=0)
    return out


@pytest.fixture(scope="session")
def module_at():
    """``module_at(path)``: a module that is in no package, as those of the tests are."""

    def load(path: Path):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def coco_set(module_at):
    """The functions of coco_set.py: ``write`` a COCO set that is hard to evaluate, ``predict`` on it."""
    return module_at(Path(__file__).with_name("coco_set.py"))


@pytest.fixture(scope="session")
def changes(module_at):
    """The functions of changes.py: ``contents`` that a file may have, ``readable_or_refused`` whatever it holds."""
    return module_at(TESTS / "changes.py")


@pytest.fixture(scope="session")
def kills(module_at):
    """The functions of kills.py: ``survives(function, folder)`` kills a function at its file events."""
    return module_at(TESTS / "kills.py")


@pytest.fixture(scope="session")
def killed():
    """``killed(module, out, arguments, tries=3)``: kill a command at so many of its file events; how many it survived.

    After each kill the same command must end well, with the files of an undisturbed run and no others.
    """

    def call(module: str, out: Path, arguments: list[str], *, tries: int, imports: Iterable[str] = ()) -> int:
        command = [sys.executable, str(TESTS / "kills.py"), module, str(out), str(tries), "--", *map(str, arguments)]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "IMPORTED_FIRST": ",".join(imports)}
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout.splitlines()[-1])
        print(f"{module}: {answer['events']} events, {answer['tried']} kills, {len(answer['faults'])} faults")
        assert not answer["faults"], answer["faults"]
        return answer["tried"]

    return call


@pytest.fixture(scope="session")
def command():
    """``command("pretrain/train.py", "--help")`` runs a command line in a process of its own, as a user would."""

    def call(script: str, *arguments: object, cwd: Path | None = None, env: dict | None = None, timeout: float = 300):
        return subprocess.run(
            [sys.executable, str(ROOT / script), *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            timeout=timeout,
        )

    return call


@pytest.fixture(scope="session")
def refused(command):
    """``refused(script, *arguments)``: the error lines that answer wrong input, one for each fault; exit code 2."""

    def call(script: str, *arguments: object, **options) -> str:
        done = command(script, *arguments, **options)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert errors and all(len(line) <= 300 for line in errors), done.stderr
        assert done.stderr.strip().endswith("\n".join(errors)), done.stderr
        return "\n".join(errors)

    return call


def _serve(rank: int, world: int, port: int, tasks, results) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world))
    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    while (task := tasks.get()) is not None:
        function, arguments = cloudpickle.loads(task)
        try:
            results.put((rank, cloudpickle.dumps((True, function(*arguments)))))
        except Exception as error:
            results.put((rank, cloudpickle.dumps((False, f"rank {rank}: {type(error).__name__}: {error}"))))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks():
    """``ranks(n, function, *arguments)``: run a function in n gloo processes at once, return the list of its results.

    The processes are started once per module and kept for it, because each start costs an import of torch, and each
    process holds up to a gigabyte.
    """
    context, pools = mp.get_context("spawn"), {}

    def start(world: int):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        tasks, results = [context.Queue() for _ in range(world)], context.Queue()
        processes = [
            context.Process(target=_serve, args=(rank, world, port, tasks[rank], results), daemon=True)
            for rank in range(world)
        ]
        for process in processes:
            process.start()
        return processes, tasks, results

    def call(world: int, function, *arguments):
        if world not in pools:
            pools[world] = start(world)
        processes, tasks, results = pools[world]
        cloudpickle.register_pickle_by_value(sys.modules[function.__module__])  # test files are not importable there
        task = cloudpickle.dumps((function, arguments))
        for inbox in tasks:
            inbox.put(task)
        try:
            answers = dict(results.get(timeout=300) for _ in range(world))
            outcomes = [cloudpickle.loads(answers[rank]) for rank in range(world)]
            failures = [value for ok, value in outcomes if not ok]
        except queue.Empty:
            failures = ["no answer within 300 s"]
        if failures:  # the others may hang in a collective: this pool is of no more use
            del pools[world]
            for process in processes:
                process.kill()
            raise AssertionError("; ".join(failures))
        return [value for _, value in outcomes]

    yield call
    for processes, tasks, _ in pools.values():
        for inbox in tasks:
            inbox.put(None)
        for process in processes:
            process.join(10)
