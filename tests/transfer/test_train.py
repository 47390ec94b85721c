"""A fine-tuning run from weights to result, interrupted or not; and what it refuses."""

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from runtime import results
from runtime.command_line import UserError
from runtime.precision import is_fast_in_bf16
from transfer import train
from transfer.checkpoints import weights

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("protocol", ["demo-fpn", "demo-c4"])
@pytest.mark.slow
def test_a_run_leaves_detectron2s_files_and_a_result(fine_tuned, scenes, protocol):
    out = fine_tuned(protocol)
    for name in ("config.yaml", "metrics.json", "log.txt", "model_final.pth", "predictions.png", "predictions.json.gz"):
        assert (out / name).stat().st_size > 0, name
    assert (out / "last_checkpoint").read_text() == "model_final.pth"

    records = results.read(out / "result.json")
    found = {(record.task, record.metric) for record in records}
    assert found >= {(task, metric) for task in ("bbox", "segm") for metric in ("AP", "AP50", "AP75")}
    assert any(metric.startswith("AP-") for _, metric in found)
    first = records[0]
    assert (first.method, first.recipe, first.epochs) == ("matrix_ssl", "demo", 8)
    assert (first.protocol, first.benchmark, first.seed) == (protocol, "scenes", 0)
    assert first.n == len(json.loads((scenes / "detection/val.json").read_text())["images"])
    assert len(first.weights_sha256) == 64

    context = json.loads((out / "result.json").read_text())
    assert (context["norm"], context["precision"], context["processes"]) == (
        "BN",
        "bfloat16" if is_fast_in_bf16(torch.device("cpu")) else "float32",
        1,
    )
    assert (
        context["changed_from_protocol"]["SOLVER.MAX_ITER"] == 2
        and "MODEL.RESNETS.NORM" not in context["changed_from_protocol"]
    )
    loaded = json.loads((out / "loaded.json").read_text())
    assert len(loaded["arrived"]) == 265
    assert len(loaded["extras"]) == (4 if protocol == "demo-c4" else 0)


def test_the_trunk_of_the_final_model_came_from_the_weights(fine_tuned, converted):
    """Two iterations turn the filters a little; filters of another origin would be at right angles."""
    state = torch.load(fine_tuned("demo-fpn") / "model_final.pth", weights_only=True)["model"]
    for name, array in weights.read(converted)["model"].items():
        if name.endswith(("conv1.weight", "conv2.weight", "conv3.weight")):
            before, after = torch.as_tensor(array), state[f"backbone.bottom_up.{name}"]
            assert torch.cosine_similarity(before.flatten(), after.flatten(), dim=0) > 0.5, name
            assert not torch.equal(before, after), name


def test_the_same_command_again_returns_at_once(fine_tuned, command, converted, capsys):
    out = fine_tuned("demo-fpn")
    before = (out / "result.json").stat().st_mtime_ns
    assert train.main(command(out, converted)) == 0
    assert "complete" in capsys.readouterr().out
    assert (out / "result.json").stat().st_mtime_ns == before


def test_eval_only_gives_the_same_numbers_again(fine_tuned, command, converted):
    out = fine_tuned("demo-fpn")
    before = results.read(out / "result.json")
    assert train.main([*command(out, converted), "--eval-only"]) == 0
    assert [record.value for record in results.read(out / "result.json")] == [record.value for record in before]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": "random"}, r"weights_sha256 .there \w{12}, here ''."),
        ({"protocol": "demo-c4"}, "protocol .there 'demo-fpn', here 'demo-c4'."),
        ({"SOLVER__BASE_LR": 0.5}, "SOLVER.BASE_LR .there 0.0[0-9]+, here 0.5."),
    ],
)
def test_the_folder_of_another_run_is_refused_with_what_differs(fine_tuned, command, converted, change, message):
    arguments = {"weights": converted} | change
    with pytest.raises(UserError, match=f"is the folder of another run: {message}"):
        train.main(command(fine_tuned("demo-fpn"), **arguments))


def test_another_seed_is_refused_too(fine_tuned, command, converted):
    with pytest.raises(UserError, match="SEED .there 0, here 1."):
        train.main([*command(fine_tuned("demo-fpn"), converted), "--seed", "1"])


def test_seeds_are_runs_of_their_own_and_tables_average_them(tmp_path, command, converted):
    words = [*command(tmp_path / "out", converted, SOLVER__MAX_ITER=1), "--seeds", "3,5"]
    assert train.main(words) == 0
    found = {seed: results.read(tmp_path / "out" / f"seed{seed}" / "result.json")[0] for seed in (3, 5)}
    assert {seed: record.seed for seed, record in found.items()} == {3: 3, 5: 5}
    assert not (tmp_path / "out" / "result.json").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["out/seed0", "out/seed1", "out/seed2", "out/seed3", "out/seed4"]),
        (["--seed", "7"], ["out"]),
        (["--seeds", "7"], ["out/seed7"]),
        (["TRANSFER.TRIALS", "1"], ["out"]),
    ],
)
def test_voc_has_five_runs_unless_told_otherwise(coco, words, expected):
    told = ["--protocol", "voc-24k", "--benchmark", "pets", "--weights", "random", "--out", "out", *words]
    for half in ("train", "val"):
        told += [f"--{half}-json", str(coco / "data.json"), f"--{half}-images", str(coco / "images")]
    runs = train.runs(train.parse(told))
    assert [str(out) for _, out in runs] == expected
    assert [seed for seed, _ in runs] == ([0, 1, 2, 3, 4] if not words else [7] if "7" in words else [0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", "1,2,1"], "--seeds: 1 is given twice"),
        (["--seeds", ""], "expected whole numbers"),
        (["TRANSFER.TRIALS", "0"], "TRIALS must be at least 1, got 0"),
        (["--seeds", "1,x"], "expected whole numbers"),
        (["--seeds", "1", "--seed", "1"], "not allowed with argument"),
    ],
)
def test_seeds_that_cannot_be_are_one_line(tmp_path, command, words, message):
    with pytest.raises(UserError, match=message):
        train.main([*command(tmp_path / "out"), *words])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["SEED", "3"], "SEED is decided by --seed"),
        (["MODEL.PIXEL_STD", "[1., 1., 1.]"], "MODEL.PIXEL_STD .* contradicts the weights"),
        (["MODEL.RESNETS.DEPTH", "101"], "DEPTH 101 contradicts the weights, which were trained with 50"),
        (["TRANSFER.EVALUATION_ENGINE", "fast"], "EVALUATION_ENGINE must be one of hotcoco, pycocotools"),
    ],
)
def test_settings_that_cannot_be_are_one_line(tmp_path, command, converted, extra, message):
    with pytest.raises(UserError, match=message):
        train.main([*command(tmp_path / "out", converted), *extra])


def test_a_run_that_diverges_ends_with_one_line(tmp_path, command):
    with pytest.raises(UserError, match="fine-tuning diverged .*lower SOLVER.BASE_LR"):
        train.main(command(tmp_path / "out", SOLVER__BASE_LR=1e9, SOLVER__WARMUP_ITERS=0, SOLVER__MAX_ITER=6))


def test_weights_that_do_not_state_their_input_are_taken_with_a_note(tmp_path, command, converted, capsys):
    content = weights.read(converted)
    del content[weights.ABOUT]
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content))
    assert train.main(command(tmp_path / "out", tmp_path / "R-50.pkl", SOLVER__MAX_ITER=1)) == 0
    assert "does not say what input it needs" in capsys.readouterr().err
    assert results.read(tmp_path / "out" / "result.json")[0].method == "R-50"


def test_eval_only_before_training_says_so(tmp_path, command):
    with pytest.raises(UserError, match="train first, without --eval-only"):
        train.main([*command(tmp_path / "out"), "--eval-only"])


def test_a_polygon_set_given_by_paths_trains_from_scratch(tmp_path, coco, tiny):
    paths = [f"--{half}-{kind}" for half in ("train", "val") for kind in ("json", "images")]
    places = [str(coco / "data.json"), str(coco / "images")] * 2
    given = [word for pair in zip(paths, places, strict=True) for word in pair]
    words = f"--protocol demo-fpn --benchmark pets --weights random --out {tmp_path / 'out'}".split()
    assert train.main([*words, *given, *tiny(SOLVER__MAX_ITER=1)]) == 0
    record = results.read(tmp_path / "out" / "result.json")[0]
    assert (record.method, record.benchmark, record.weights_sha256, record.n) == ("random", "pets", "", 2)
    assert not (tmp_path / "out" / "loaded.json").exists()


def test_boxes_without_masks_train_with_mask_on_false_only(tmp_path, coco, tiny):
    content = json.loads((coco / "data.json").read_text())
    for annotation in content["annotations"]:
        del annotation["segmentation"]
    (coco / "data.json").write_text(json.dumps(content))
    words = f"--protocol demo-fpn --benchmark pets --weights random --out {tmp_path / 'out'}".split()
    for half in ("train", "val"):
        words += [f"--{half}-json", str(coco / "data.json"), f"--{half}-images", str(coco / "images")]
    with pytest.raises(UserError, match="without a mask; add MODEL.MASK_ON=False"):
        train.main([*words, *tiny(SOLVER__MAX_ITER=1)])
    assert train.main([*words, *tiny(SOLVER__MAX_ITER=1, MODEL__MASK_ON=False)]) == 0
    assert {record.task for record in results.read(tmp_path / "out" / "result.json")} == {"bbox"}


def _start(arguments: list[str]) -> subprocess.Popen:
    script = Path(train.__file__)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, script, *arguments], env=environment, stderr=subprocess.PIPE, text=True)


def _wait_for_checkpoint_beyond(out: Path, old: str, process: subprocess.Popen) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (out / "last_checkpoint").exists() and (new := (out / "last_checkpoint").read_text()) != old:
            return new
        time.sleep(0.02)
    raise AssertionError(f"no new checkpoint; exit code {process.poll()}: {process.stderr.read()}")


def test_a_run_terminated_then_killed_then_resumed_ends_with_the_same_weights(tmp_path, command, converted):
    settings = {"SOLVER__MAX_ITER": 7, "SOLVER__CHECKPOINT_PERIOD": 2, "TEST__EVAL_PERIOD": 3}
    whole, broken = tmp_path / "whole", tmp_path / "broken"

    process = _start(command(broken, converted, **settings))
    first = _wait_for_checkpoint_beyond(broken, "", process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75, process.stderr.read()
    assert not (broken / "model_final.pth").exists()

    process = _start(command(broken, converted, **settings))
    stopped_at = (broken / "last_checkpoint").read_text()
    assert stopped_at >= first
    second = _wait_for_checkpoint_beyond(broken, stopped_at, process)
    process.kill()
    process.wait(60)
    assert not (broken / "result.json").exists(), f"killed too late, after {second}"

    assert train.main(command(broken, converted, **settings)) == 0
    assert train.main(command(whole, converted, **settings)) == 0
    a, b = (torch.load(out / "model_final.pth", weights_only=True)["model"] for out in (whole, broken))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not list(broken.glob("model_0*.pth")), "a complete run keeps its last checkpoint only"
    numbers = [[record.value for record in results.read(out / "result.json")] for out in (whole, broken)]
    assert numbers[0] == numbers[1]


def _train_as_a_rank(arguments: list[str]) -> dict:
    from runtime import distributed
    from runtime.stopping import StopRequest
    from transfer import train
    from transfer.detection import fine_tuning

    parsed = train.parse(arguments)
    given = {key: getattr(parsed, key) for key in ("protocol", "benchmark", "data", "weights", "scale")}
    given.update(overrides=parsed.settings, paths={key: getattr(parsed, key) for key in train.PATHS})
    run = fine_tuning.Run(next(fine_tuning.specs(train.runs(parsed), **given)), stop=StopRequest())
    run.prepare()
    run.train()
    metrics = run.evaluate()
    if distributed.is_main():
        run.write_result(metrics, wall_s=0)
    return metrics


def test_two_processes_train_one_model(tmp_path, command, converted, ranks):
    short = {"SOLVER__MAX_ITER": 1, "TEST__PRECISE_BN__NUM_ITER": 1, "TRANSFER__PICTURES": 0}
    arguments = command(tmp_path / "out", converted, protocol="demo-c4", **short)
    main, other = ranks(2, _train_as_a_rank, arguments)
    assert main["bbox"]["AP"] >= 0
    assert other == {}
    context = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (context["norm"], context["processes"]) == ("naiveSyncBN", 2)
    assert len(json.loads((tmp_path / "out" / "loaded.json").read_text())["arrived"]) == 265


def test_more_processes_than_a_batch_can_be_shared_by_are_refused(tmp_path, command, ranks):
    with pytest.raises(AssertionError, match="batch of SOLVER.IMS_PER_BATCH 3 .* by 2 processes"):
        ranks(2, _train_as_a_rank, command(tmp_path / "out", SOLVER__IMS_PER_BATCH=3))
