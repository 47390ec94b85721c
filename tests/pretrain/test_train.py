import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

from analysis.report_page.training import NO_TERMS
from pretrain import train, training_loop
from pretrain.checkpoints import checkpoint
from pretrain.data import packing
from runtime import precision, progress
from runtime.provenance import ROOT

SCRIPT = "pretrain/train.py"
# ResNet-50 on 32-pixel views of 48 drawn scenes: 6 steps an epoch, about half a second each.
SMALL = [
    *("--method", "matrix_ssl", "batch_size=8", "views.size=32", "precision=fp32", "data.workers=1", "log.every=1"),
    *("method.projector_width=32", "method.predictor_width=16", "optim.warmup_epochs=0.5", "log.checkpoint_every=2"),
]


def small(root: Path, out: Path, *more: str) -> list[str]:
    return [*SMALL, "--out", str(out), f"data.root={root / 'unlabelled'}", *more]


@pytest.fixture(scope="module")
def finished(command, scenes, tmp_path_factory) -> Path:
    """A run of 12 steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    done = command(SCRIPT, *small(scenes, out, "epochs=2"))
    assert done.returncode == 0, done.stderr
    return out


def steps(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("fast", [True, False])
def test_auto_is_the_precision_that_the_run_began_with(finished, scenes, monkeypatch, capsys, fast):
    monkeypatch.setattr(precision, "is_fast_in_bf16", lambda device: fast)
    assert train.main(small(scenes, finished, "epochs=2", "precision=auto")) == 0
    assert "done already" in capsys.readouterr().out
    assert checkpoint.read_backbone(finished / "backbone.pth")["config"]["precision"] == "fp32"


@pytest.mark.slow
def test_no_epochs_write_what_training_starts_from_with_statistics_of_the_images(scenes, tmp_path, monkeypatch):
    """The control of a table: the same initial weights, which the converter takes as it takes those of a run. Its
    progress, from which --estimate takes a speed, is that of the statistics."""
    monkeypatch.setattr(training_loop, "UNTRAINED_BATCHES", 2)
    monkeypatch.setattr(progress, "record_path", tmp_path / "progress.json")
    assert train.main(small(scenes, tmp_path, "epochs=0", "seed=3")) == 0
    report = json.loads((tmp_path / "progress.json").read_text())
    assert (report["label"], report["first_done"], report["done"], report["total"]) == ("batch statistics", 1, 2, 2)
    written = checkpoint.read_backbone(tmp_path / "backbone.pth")["state_dict"]
    arguments = train.parse(small(scenes, tmp_path, "seed=3"))
    start = training_loop.build("matrix_ssl", arguments.config, torch.device("cpu")).backbone
    assert all(torch.equal(written[name], value) for name, value in start.named_parameters())
    assert not torch.equal(written["bn1.running_var"], start.bn1.running_var)


@pytest.mark.slow
def test_run_folder_holds_what_the_next_stage_needs(finished):
    about = checkpoint.read_backbone(finished / "backbone.pth")
    assert (about["method"], about["recipe"], about["epochs"], about["seed"]) == ("matrix_ssl", "imagenet-100ep", 2, 0)
    weights = about["state_dict"]
    assert len(weights) == 318 and not any(name.startswith("fc") for name in weights)
    assert weights["conv1.weight"].shape == (64, 3, 7, 7)
    assert about["config"]["batch_size"] == 8 and about["commit"]


def test_log_carries_each_loss_term_rank_rate_and_speed(finished):
    lines = steps(finished)
    assert [line["step"] for line in lines] == list(range(1, 13))
    for line in lines:
        assert {"uniformity", "alignment", "effective_rank", "lr", "images_per_s"} <= line.keys()
        assert line["step"] == 1 or 0 <= line["data_wait"] < 1 and line["loader_images_per_s"] > 0
        assert 1 <= line["effective_rank"] <= 8
        assert line.keys() - NO_TERMS == {"uniformity", "alignment"}, "the report would draw the others as loss"
    rates = [line["lr"] for line in lines]
    peak = 0.5 * 8 / 256
    assert rates[:3] == pytest.approx([peak / 3, 2 * peak / 3, peak], rel=1e-5)  # 3 steps of warm-up, then a cosine
    assert rates[3] == pytest.approx(peak) and rates[3:] == sorted(rates[3:], reverse=True) and rates[-1] < 0.1 * peak
    assert list((finished / "tensorboard").iterdir())


def test_killed_at_any_moment_and_resumed_gives_bit_identical_weights(finished, command, scenes, tmp_path):
    """kill -9 in the middle, SIGTERM in what resumed with the images packed, a newest checkpoint torn in two: as if
    nothing had happened."""
    out = tmp_path / "run"
    arguments = small(scenes, out, "epochs=2")
    packing.pack(scenes / "unlabelled", tmp_path / "packed", shard_bytes=20_000)

    def until(step: int, number: int, *more: str) -> int:
        process = subprocess.Popen([sys.executable, str(ROOT / SCRIPT), *arguments, *more], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (out / "log.jsonl").exists() or len(steps_so_far(out)) < step:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, number)
        return process.wait(60)

    assert until(5, signal.SIGKILL) == -signal.SIGKILL
    assert checkpoint.read(out / "checkpoint.pth")["step"] in (4, 6)
    packed = [f"data.root={tmp_path / 'packed'}", f"data.stage={tmp_path / 'disk'}"]
    assert until(8, signal.SIGTERM, *packed) == 75  # saved where it stood, and asks to be called again
    assert len(list((tmp_path / "disk").glob("packed-*/*.tar"))) > 2
    newest = out / "checkpoint.pth"
    newest.write_bytes(newest.read_bytes()[:100_000])
    last = command(SCRIPT, *arguments)
    assert last.returncode == 0 and "truncated one" in last.stderr and "going on from step-" in last.stderr
    undisturbed, resumed = (checkpoint.read(run / "checkpoint.pth") for run in (finished, out))
    assert undisturbed["model"].keys() == resumed["model"].keys()
    assert all(torch.equal(undisturbed["model"][name], resumed["model"][name]) for name in undisturbed["model"])
    keys = ("step", "uniformity", "alignment", "effective_rank")
    assert [[line[k] for k in keys] for line in steps(finished)] == [[line[k] for k in keys] for line in steps(out)]


def steps_so_far(run: Path) -> list[str]:
    return (run / "log.jsonl").read_text().splitlines()


def test_a_finished_run_returns_at_once_and_is_not_touched(finished, command, scenes):
    before = (finished / "backbone.pth").stat().st_mtime_ns
    done = command(SCRIPT, *small(scenes, finished, "epochs=2"))
    assert done.returncode == 0 and "done already" in done.stdout
    assert (finished / "backbone.pth").stat().st_mtime_ns == before


def test_folder_of_another_run_names_the_difference(finished, refused, scenes):
    line = refused(SCRIPT, *small(scenes, finished, "epochs=2", "optim.lr=0.7"))
    assert "another run" in line and "optim.lr (there 0.5, here 0.7)" in line


def test_auto_is_recorded_and_another_machines_choice_does_not_go_on_with_the_run(
    finished, scenes, tmp_path, monkeypatch
):
    """Begun on a CPU (cv2); then the same command on a GPU, where auto is torch."""
    from pretrain import training_loop
    from pretrain.train import parse
    from runtime import distributed
    from runtime.command_line import UserError

    config = checkpoint.read_backbone(finished / "backbone.pth")["config"]
    recorded = yaml.safe_load((finished / "config.yaml").read_text())["settings"]
    assert config["views"]["backend"] == recorded["views"]["backend"] == "cv2"
    monkeypatch.setattr(distributed, "device_type", lambda device: "cuda")
    asked = parse(small(scenes, finished, "epochs=2"))
    assert training_loop.run(asked.method, asked.recipe, asked.config, finished) == 0, "what is done stays done"
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "backbone.pth").unlink()
    identity = {"method": asked.method, "recipe": asked.recipe}
    identity["settings"] = asdict(training_loop.resolved(asked.config))
    with pytest.raises(UserError, match="begun with views.backend=cv2, .* is torch; go on with views.backend=cv2"):
        training_loop.guard_of(run, asked.method).check(identity)


def test_a_run_goes_on_with_the_same_images_elsewhere_and_with_no_others(finished, command, refused, scenes, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    (run / "backbone.pth").unlink()
    moved = shutil.copytree(scenes / "unlabelled", tmp_path / "moved" / "unlabelled")
    assert command(SCRIPT, *small(moved.parent, run, "epochs=2")).returncode == 0
    (run / "backbone.pth").unlink()
    next(moved.rglob("*.*")).unlink()
    line = refused(SCRIPT, *small(moved.parent, run, "epochs=2"))
    assert "another run: images.count (there 48, here 47); images.sha256" in line


def test_a_setting_younger_than_the_run_had_its_default(finished, command, refused, scenes, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    about = yaml.safe_load((run / "config.yaml").read_text())
    del about["settings"]["method"]["order"], about["settings"]["views"]["small_size"]
    (run / "config.yaml").write_text(yaml.safe_dump(about))
    line = refused(SCRIPT, *small(scenes, run, "epochs=2", "method.order=3"))
    assert "another run: method.order (there 4, here 3);" in line
    assert "done already" in command(SCRIPT, *small(scenes, run, "epochs=2")).stdout


def test_a_run_that_saved_nothing_leaves_its_folder_to_the_corrected_command(command, scenes, tmp_path):
    arguments = small(scenes, tmp_path / "run", "epochs=1")
    assert command(SCRIPT, *arguments, "optim.lr=1e30").returncode == 2  # not finite at the second step
    assert command(SCRIPT, *arguments).returncode == 0


def test_two_processes_make_the_same_step_as_one(command, scenes, tmp_path):
    """torchrun with two gloo processes: the loss of every step agrees with the single process on the same batch."""
    logs = []
    for processes in (1, 2):
        out = tmp_path / f"run{processes}"
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        call = [*launch, str(ROOT / SCRIPT), *small(scenes, out, "epochs=1", "optim.lr=0.001", "precision=fp32")]
        done = subprocess.run(call, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        logs.append([line["uniformity"] + line["alignment"] for line in steps(out)])
    assert logs[0] == pytest.approx(logs[1], abs=2e-4)


@pytest.mark.parametrize(
    "changes, message",
    [
        (["--method", "nope"], "unknown method 'nope'; known: .*matrix_ssl"),
        (["batch_size=49"], "batch_size=49 is more than the 48 images"),
        (["batch_size=1"], "batch_size must be at least 2"),
        (["data.root=/nowhere"], "no folder of images at /nowhere"),
        (["views.recipe=nope"], "views.recipe must be one of asymmetric, .*'nope'"),
        (["optim.name=nope"], "optim.name must be one of sgd, lars, larc, adamw, got 'nope'"),
        (["method.variant=nope"], "method.variant must be one of released, paper, got 'nope'"),
        (["precision=fp8"], "precision must be one of auto, bf16, fp32, got 'fp8'"),
        (["data.root="], "data.root is not set"),
        (["log.probe_every=3", "log.every=2"], "log.probe_every=3 must be a multiple of log.every=2"),
        (["views.min_scale=0"], "views.min_scale must be above 0, at most 1, got 0.0"),
        (["views.small_max_scale=1.5"], "views.small_max_scale must be above 0, at most 1, got 1.5"),
        (["views.small_min_scale=0.2"], "views.small_min_scale=0.2 must be at most views.small_max_scale=0.14"),
        (["views.small=2"], "matrix_ssl takes 2 views of an image, but .* makes 4"),
        (["method.variant=paper", "method.target_scale=0.5"], "target_scale=0.5 is a setting of .*released"),
        (["--method", "moco_v2", "method.queue_size=20"], "method.queue_size=20 must be a multiple of batch_size=8"),
        (["--method", "moco_v2", "method.queue_size=0"], "method.queue_size=0 must be a multiple of batch_size=8"),
        (["--method", "moco_v2", "method.bn_groups=3"], "batch_size=8 cannot be split into method.bn_groups=3 groups"),
        (["--method", "moco_v2", "method.bn_groups=8"], "groups of at least 2 images each"),
        (["--method", "swav", "method.queue_size=12"], "method.queue_size=12 must be a multiple of batch_size=8, or 0"),
        (["device=cuda"], "device=cuda, but torch finds no CUDA GPU"),
    ],
)
def test_wrong_input_is_one_line(changes, message, scenes, tmp_path, monkeypatch):
    from pretrain import train
    from runtime.command_line import UserError

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    arguments = small(scenes, tmp_path / "run")
    if "--method" in changes:
        arguments = [word for word in arguments if not word.startswith("method.")]
    with pytest.raises(UserError, match=message):
        train.main([*arguments, *changes])


def test_a_loss_that_is_no_number_stops_with_one_line(refused, scenes, tmp_path):
    line = refused(SCRIPT, *small(scenes, tmp_path / "run", "optim.lr=1e30"))
    assert "loss is not finite at step" in line and "uniformity" in line


def test_a_collapse_stops_with_one_line(refused, scenes, tmp_path):
    """A bar no batch of 8 can pass: the watch sees three low ranks in a row after the warm-up."""
    line = refused(SCRIPT, *small(scenes, tmp_path / "run", "log.collapse_rank=9"))
    assert "collapse at step 6: the embeddings' effective rank" in line


def test_unreadable_images_are_counted_and_too_many_stop_the_run(command, scenes, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    for i, path in enumerate(sorted((scenes / "unlabelled").iterdir())[:16]):
        (images / path.name).write_bytes(path.read_bytes() if i else b"broken")
    arguments = small(tmp_path, tmp_path / "run", f"data.root={images}", "epochs=1", "log.checkpoint_every=1")
    done = command(SCRIPT, *arguments)
    assert done.returncode == 2
    assert f"unreadable, skipped: {images / '000000.jpg'}" in done.stderr
    assert "1 of 16 images are unreadable" in done.stderr.splitlines()[-1]
    done = command(SCRIPT, *arguments, "data.max_unreadable=0.1")
    assert done.returncode == 0 and "1 unreadable images were skipped" in done.stderr


def test_help_shows_every_setting_with_its_sentence(command):
    text = command(SCRIPT, "--method", "matrix_ssl", "--help").stdout
    assert "optim.lr\n" in text and "method.gamma\n" in text and "Table 5 finds 1 best" in text


@pytest.mark.slow
def test_works_from_any_folder_and_as_a_module(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pretrain.train", "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and "KEY=VALUE" in done.stdout
