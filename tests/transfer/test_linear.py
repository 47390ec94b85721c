"""The command line of linear classification, from a backbone file to a result, interrupted or not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pretrain.checkpoints import checkpoint
from runtime import precision, results
from runtime.command_line import UserError
from transfer import linear
from transfer.backbones import frozen
from transfer.classification import crops, label_subset, labelled_images, trainer

pytestmark = pytest.mark.slow

# 24 crops of 32 pixels, 3 steps an epoch. SGD: LARS would make every process import timm.
SMALL = ["optimizer=nesterov", "epochs=2", "batch_size=8", "lr=0.1", "size=32", "resize=32", "workers=0"]


@pytest.fixture(scope="module")
def words(scenes, backbone_pth):
    def call(out: Path, *more: str, weights=backbone_pth, protocol: str = "linear-matrix-ssl") -> list[str]:
        options = f"--protocol {protocol} --benchmark scenes --data {scenes} --weights {weights} --out {out}"
        return [*options.split(), *SMALL, *more]

    return call


@pytest.fixture(scope="module")
def finished(words, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("linear") / "run"
    assert linear.main(words(out, "epochs=6")) == 0
    return out


def test_a_run_leaves_a_result_with_last_and_best(finished, backbone_pth):
    records = {record.metric: record for record in results.read(finished / "result.json")}
    assert list(records) == ["top1", "top5", "top1-best"]
    first = records["top1"]
    assert (first.task, first.protocol, first.benchmark, first.n) == (
        "classification",
        "linear-matrix-ssl",
        "scenes",
        12,
    )
    assert (first.method, first.recipe, first.epochs, first.seed) == ("matrix_ssl", "demo", 8, 0)
    context = json.loads((finished / "result.json").read_text())
    history = context["history"]
    assert len(history) == 6 and first.value == history[-1]["top1"] and records["top5"].value == history[-1]["top5"]
    assert records["top1-best"].value == max(epoch["top1"] for epoch in history)
    assert (context["precision"], context["processes"], context["bn_statistics"]) == ("fp32", 1, "stored")
    assert context["changed_from_protocol"]["batch_size"] == 8 and "note" not in context
    assert context["protocol_version"] == 2
    lines = (finished / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history
    weights = checkpoint.read(finished / "classifier.pth")
    assert weights["state_dict"]["linear.weight"].shape == (8, 2048) and weights["classes"][0] == "crescent"
    assert not (finished / "checkpoint.pth").exists()


def test_done_already_and_the_folder_of_another_run(finished, words, capsys):
    (finished / "checkpoint.pth").touch()  # killed between the result and the checkpoint's removal
    assert linear.main(words(finished, "epochs=6", "workers=1")) == 0  # how many workers is nobody's business
    assert "done already" in capsys.readouterr().out and not (finished / "checkpoint.pth").exists()
    with pytest.raises(UserError, match=r"another run: epochs \(there 6, here 5\); lr \(there 0.1, here 0.2\)"):
        linear.main(words(finished, "epochs=5", "lr=0.2"))
    with pytest.raises(UserError, match=r"another run: .*weights_sha256 \(there [0-9a-f']+, here ''\)"):
        linear.main(words(finished, "epochs=6", weights="random"))


def test_a_damaged_result_is_made_again(words, tmp_path, capsys):
    out = tmp_path / "run"
    assert linear.main(words(out, "epochs=1")) == 0
    records = results.read(out / "result.json")
    os.truncate(out / "result.json", 300)
    assert linear.main(words(out, "epochs=1")) == 0
    assert "it is made again" in capsys.readouterr().err and results.read(out / "result.json") == records


@pytest.mark.slow
def test_killed_then_terminated_then_finished_gives_the_same_classifier(finished, words, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, linear.__file__, *words(out, "epochs=6")]

    def until_next_checkpoint(number: int) -> int:
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        file, deadline = out / "checkpoint.pth", time.monotonic() + 120
        before = file.stat().st_mtime_ns if file.exists() else 0
        while not file.exists() or file.stat().st_mtime_ns == before:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        os.kill(process.pid, number)
        return process.wait(60)

    assert until_next_checkpoint(signal.SIGKILL) == -signal.SIGKILL
    assert until_next_checkpoint(signal.SIGTERM) == 75
    assert not (out / "result.json").exists()
    assert linear.main(words(out, "epochs=6")) == 0
    whole, broken = (checkpoint.read(run / "classifier.pth")["state_dict"] for run in (finished, out))
    assert whole.keys() == broken.keys() and all(torch.equal(whole[name], broken[name]) for name in whole)
    histories = [json.loads((run / "result.json").read_text())["history"] for run in (finished, out)]
    assert histories[0] == histories[1]


def test_one_pass_feeds_several_backbones(words, backbone_pth, tmp_path, monkeypatch):
    """Each to what it gives alone; the first is complete already, the second joins at the step where it was stopped."""
    made, sample = [], crops._sample

    def counted(images, index, *how):
        made.append(index)
        return sample(images, index, *how)

    monkeypatch.setattr(crops, "_sample", counted)
    other = tmp_path / "other.pth"
    content = torch.load(backbone_pth)
    changed = {key: 0.9 * value if value.ndim == 4 else value for key, value in content["state_dict"].items()}
    torch.save({**content, "state_dict": changed}, other)
    assert linear.main(words(tmp_path / "alone", weights=other)) == 0
    alone, usual = len(made), trainer.Training._check_stop

    def stop(run):
        run.stop.signal = signal.SIGTERM if run.step == 4 else None
        usual(run)

    with monkeypatch.context() as patched:
        patched.setattr(trainer.Training, "_check_stop", stop)
        assert linear.main(words(tmp_path / "b")) == 75
    assert linear.main(words(tmp_path / "a")) == 0
    made.clear()
    three = ",".join(map(str, (backbone_pth, backbone_pth, other)))
    assert linear.main(words(",".join(str(tmp_path / name) for name in "abc"), weights=three)) == 0
    assert len(made) == alone, "each crop is made once"
    for name, same in (("b", "a"), ("c", "alone")):
        mine, theirs = (checkpoint.read(tmp_path / run / "classifier.pth")["state_dict"] for run in (name, same))
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)
        mine, theirs = (json.loads((tmp_path / run / "result.json").read_text()) for run in (name, same))
        assert mine["history"] == theirs["history"] and mine["records"] == theirs["records"]


def test_maes_probe_of_a_vit_in_parts_stopped_and_resumed(words, tmp_path, monkeypatch):
    """Batches of 8 that the loader makes 3 images at a time, stopped within the warm-up: the same bits."""
    settings = ["optimizer=lars", "network=vit_mini_patch8", "warmup_epochs=1", "epochs=3", "lr=300"]
    how = {"weights": "random", "protocol": "linear-mae-b"}
    assert linear.main(words(tmp_path / "whole", *settings, **how)) == 0
    usual = trainer.Training._check_stop

    def stop(run):
        run.stop.signal = signal.SIGTERM if run.step == 2 else None
        usual(run)

    monkeypatch.setattr(crops, "IN_PART", 3)
    with monkeypatch.context() as patched:
        patched.setattr(trainer.Training, "_check_stop", stop)
        assert linear.main(words(tmp_path / "parts", *settings, **how)) == 75
    assert linear.main(words(tmp_path / "parts", *settings, **how)) == 0
    whole, parts = (checkpoint.read(tmp_path / name / "classifier.pth")["state_dict"] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and all(torch.equal(whole[name], parts[name]) for name in whole)
    context = json.loads((tmp_path / "parts" / "result.json").read_text())
    assert context["features_of"] == "class-token" and context["settings"]["exclude_1d"]
    assert [epoch["lr"] for epoch in context["history"]] == pytest.approx(
        [300 * 8 / 256 * r for r in (2 / 3, 0.75, 0.0669873)]
    )


def test_several_rates_in_one_pass_are_each_what_it_is_alone(words, tmp_path, monkeypatch):
    """Stopped at step 2 and resumed. Of 24 images 8 are held out, one of each class; the best on them is the result,
    and it has the weights and the accuracies of a training at its rate alone, on the other 16."""
    kept, seen, usual = [], [], trainer.Training._check_stop
    forward = frozen.Backbone.inputs

    def stop(run):
        run.stop.signal = signal.SIGTERM if run.step == 2 else None
        usual(run)

    def counted(backbone, pixels):
        seen.append(len(pixels))
        return forward(backbone, pixels)

    hold_out = label_subset.hold_out
    monkeypatch.setattr(label_subset, "hold_out", lambda *a, **k: kept.append(hold_out(*a, **k)) or kept[-1])
    monkeypatch.setattr(frozen.Backbone, "inputs", counted)
    sweep = words(tmp_path / "sweep", "--rates", "0.001,0.1,1")
    with monkeypatch.context() as patched:
        patched.setattr(trainer.Training, "_check_stop", stop)
        assert linear.main(sweep) == 75
    assert sorted(path.name for path in (tmp_path / "sweep").glob("*.pth")) == [
        *("checkpoint-1.pth", "checkpoint-2.pth", "checkpoint.pth")
    ]
    seen.clear()
    assert linear.main(sweep) == 0
    assert seen == [8, 12, 8, 8, 8], "step 2, which two had not done, validation, steps 3 and 4, the images held out"
    assert not list((tmp_path / "sweep").glob("checkpoint*"))
    context = json.loads((tmp_path / "sweep" / "result.json").read_text())
    [best, *_] = sorted(context["chosen"]["rates"], key=lambda rate: -rate["held_out_top1"])
    assert context["chosen"]["on"] == "8 training images held out" and len(context["chosen"]["rates"]) == 3
    assert context["settings"]["lr"] == best["lr"] and context["records"][0]["value"] == best["top1"]
    assert context["records"][0]["protocol"] == "linear-matrix-ssl-sweep" and context["train_images"] == 16
    assert linear.main([*sweep, "lr=7"]) == 0  # done already; a rate that no training has
    images = (kept[0][0], labelled_images.load("scenes", words("x")[5])[1])
    monkeypatch.setattr(labelled_images, "load", lambda *_: images)
    assert linear.main(words(tmp_path / "alone", f"lr={best['lr']}")) == 0
    one, other = (checkpoint.read(tmp_path / name / "classifier.pth")["state_dict"] for name in ("sweep", "alone"))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_any_checkpoint_of_a_sweep_keeps_its_folder(words, tmp_path, monkeypatch):
    """The first rate's checkpoint is deleted; the second one's must not go on as that of another rate or backbone."""
    usual = trainer.Training._check_stop

    def stop(run):
        run.stop.signal = signal.SIGTERM if run.step == 2 else None
        usual(run)

    sweep, whole = tmp_path / "sweep", tmp_path / "whole"
    with monkeypatch.context() as patched:
        patched.setattr(trainer.Training, "_check_stop", stop)
        assert linear.main(words(sweep, "--rates", "0.1,100")) == 75
    (sweep / "checkpoint.pth").unlink()
    with pytest.raises(UserError, match="the folder of another run: rates"):
        linear.main(words(sweep, "--rates", "0.1,1"))
    with pytest.raises(UserError, match="the folder of another run: weights_sha256"):
        linear.main(words(sweep, "--rates", "0.1,100", weights="random"))
    (sweep / "checkpoint.pth").write_bytes(b"")
    with pytest.raises(UserError, match=r"delete \S+/checkpoint\*.pth to start over"):
        linear.main(words(sweep, "--rates", "0.1,100"))
    (sweep / "checkpoint.pth").unlink()
    for out in (sweep, whole):
        assert linear.main(words(out, "--rates", "0.1,100")) == 0
    one, other = (json.loads((out / "result.json").read_text()) for out in (sweep, whole))
    assert one["history"] == other["history"] and one["chosen"] == other["chosen"]


def _linear_as_a_rank(words: list[str]) -> None:
    from transfer import linear

    linear.train(linear.parse(words))


def test_two_processes_train_the_classifier_of_one(words, tmp_path, ranks):
    """LARS and the batch norm over the global batch; 12 validation images, 6 for each rank."""
    settings = ["optimizer=lars", "lr=3.0"]
    ranks(2, _linear_as_a_rank, words(tmp_path / "two", *settings))
    assert linear.main(words(tmp_path / "one", *settings)) == 0
    one, two = (checkpoint.read(tmp_path / name / "classifier.pth")["state_dict"] for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-4, rtol=1e-4), name
    values = [[r.value for r in results.read(tmp_path / name / "result.json")] for name in ("one", "two")]
    assert values[0] == values[1]


def test_cached_features_say_that_they_are_not_the_protocol(words, tmp_path):
    assert linear.main(words(tmp_path / "run", "--cached-features", weights="random")) == 0
    records = results.read(tmp_path / "run" / "result.json")
    assert {record.protocol for record in records} == {"linear-matrix-ssl-cached"}
    assert (records[0].method, records[0].epochs, records[0].weights_sha256) == ("random", 0, "")
    context = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "not the protocol" in context["note"] and context["bn_statistics"] == "measured"


@pytest.mark.parametrize(("option", "batches"), [("--cached-features", [24]), ("--rates=0.1,1", [8, 8, 12, 8, 8, 8])])
def test_a_signal_during_extraction_ends_it_within_a_batch(words, tmp_path, monkeypatch, option, batches):
    """The first of two batches, one for each half; and the images held out, at the end of a sweep."""
    seen, usual = [], frozen.Backbone.inputs

    def signalled(backbone, pixels):
        seen.append(len(pixels))
        if len(seen) == len(batches):
            os.kill(os.getpid(), signal.SIGUSR2)
        return usual(backbone, pixels)

    with monkeypatch.context() as patched:
        patched.setattr(frozen.Backbone, "inputs", signalled)
        assert linear.main(words(tmp_path / "a", option)) == 75
    assert seen == batches
    for name in "ab":
        assert linear.main(words(tmp_path / name, option)) == 0
    one, other = (json.loads((tmp_path / name / "result.json").read_text()) for name in "ab")
    assert one["history"] == other["history"] and one["records"] == other["records"]


def test_half_precision_is_recorded_and_kept(words, tmp_path, monkeypatch, capsys):
    for fast in (True, False):  # the second time on another machine
        monkeypatch.setattr(precision, "is_fast_in_bf16", lambda device, fast=fast: fast)
        assert linear.main(words(tmp_path / "run", "precision=auto", "epochs=1")) == 0
    assert "done already" in capsys.readouterr().out
    context = json.loads((tmp_path / "run" / "result.json").read_text())
    assert context["precision"] == "bf16" and context["changed_from_protocol"]["precision"] == "bf16"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--protocol", "nope"], "unknown protocol 'nope'; known: .*linear-matrix-ssl"),
        (["--protocol", "semi-demo"], "unknown protocol 'semi-demo'; known: .*linear-demo"),
        (["--data", "/nowhere"], "no folder of images at /nowhere/train"),
        (["--benchmark", "cifar10"], "no complete cifar10 at"),
        (["--weights", "/nowhere/backbone.pth"], "no checkpoint at /nowhere/backbone.pth"),
        (["--seed", "-1"], "--seed must lie in 0"),
        (["batch_size=25"], "batch_size=25 is more than the 24 training images"),
        (["--weights", "random,random"], "2 --weights and 1 --out; give every backbone a folder of its own"),
        (["--weights", "random,random", "--out", "o/3,{}/o/3"], "give every backbone a folder of its own"),
        (["--weights", "random,random", "--out", "o/3,o/x/../3"], "give every backbone a folder of its own"),
        (["--weights", "random,random", "--out", "o/4,"], "--weights and --out take names between commas"),
        (["--weights", "random,", "--out", "o/4,o/5"], "--weights and --out take names between commas"),
        (["--rates", "0.1"], "--rates wants two or more different numbers above 0, as 0.1,0.3; got '0.1'"),
        (["--rates", "0.1,x"], "--rates wants .*; got '0.1,x'"),
        (["--rates", "0.1,-1"], "--rates wants .*; got '0.1,-1'"),
        (["--rates", "1,1.0"], "--rates wants .*; got '1,1.0'"),
        (["lr_backbone=0.1"], "keeps the backbone frozen"),
    ],
)
def test_wrong_input_is_one_line(words, tmp_path, monkeypatch, more, message):
    whole = words(tmp_path / "run")
    whole += [word.replace("{}", str(tmp_path)) for word in more]
    if "--out" in more:
        monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        linear.main(whole)
    assert not (tmp_path / "run").exists()


def test_help_shows_protocols_and_settings(capsys):
    with pytest.raises(SystemExit) as stop:
        linear.main(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "linear-vicreg" in text and "  batch_norm\n" in text
