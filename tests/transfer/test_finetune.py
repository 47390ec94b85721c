"""The command line of fine-tuning: what moves, what is recorded, interruptions, processes, wrong input."""

import json
from pathlib import Path

import pytest
import torch

from pretrain.checkpoints import checkpoint
from runtime import results
from runtime.command_line import UserError
from runtime.stopping import Stopped
from transfer import finetune
from transfer.classification.fine_tuning import FineTuning

pytestmark = pytest.mark.slow

VIT = ["network=vit_mini_patch8", "pooling=mean", "drop_path=0.2"]
RANDOM = ["random_erasing=0.5", "mixup=0.8", "cutmix=1", "ema=0.5", "clip=1", "accumulate=2"]
SMALL = ["epochs=2", "warmup_epochs=1", "batch_size=8", "size=32", "resize=32", "workers=0", "precision=fp32"]


@pytest.fixture(scope="module")
def words(scenes):
    def call(out: Path, *more: str, weights: object = "random") -> list[str]:
        options = f"--protocol finetune-demo --benchmark scenes --data {scenes} --weights {weights} --out {out}"
        return [*options.split(), *SMALL, *more]

    return call


@pytest.fixture(scope="module")
def finished(words, tmp_path_factory) -> Path:
    """A ViT, with all that is random."""
    out = tmp_path_factory.mktemp("finetune") / "run"
    assert finetune.main(words(out, *VIT, *RANDOM)) == 0
    return out


def state(run: Path) -> dict:
    return checkpoint.read(run / "classifier.pth")["state_dict"]


def test_the_result_names_protocol_and_network(finished):
    records = results.read(finished / "result.json")
    assert {(r.protocol, r.backbone, r.task, r.n) for r in records} == {
        ("finetune-demo", "vit_mini_patch8", "classification", 12)
    }
    assert [record.metric for record in records] == ["top1", "top5", "top1-best"]
    content = json.loads((finished / "result.json").read_text())
    assert content["features_of"] == "patches" and content["changed_from_protocol"]["pooling"] == "mean"
    assert "backbone.fc_norm.weight" in state(finished)


@pytest.mark.parametrize("stopped_after", [1, 3])
def test_interrupted_it_goes_on_to_the_same_weights_with_other_workers(
    stopped_after, finished, words, tmp_path, monkeypatch
):
    """Three steps an epoch: within the first, and before its evaluation."""
    usual = FineTuning._train_step

    def step(self, *batch):
        loss = usual(self, *batch)
        if self.step == stopped_after:
            self.stop.signal = 15
        return loss

    command = [word.replace("workers=0", "workers=1") for word in words(tmp_path / "run", *VIT, *RANDOM)]
    with monkeypatch.context() as patched:
        patched.setattr(FineTuning, "_train_step", step)
        with pytest.raises(Stopped):
            finetune.fine_tune(finetune.parse(command))
    assert finetune.main(words(tmp_path / "run", *VIT, *RANDOM)) == 0
    whole, resumed = state(finished), state(tmp_path / "run")
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_resnet_of_a_file_moves_whole(words, backbone_pth, tmp_path):
    assert finetune.main(words(tmp_path / "run", "epochs=1", "warmup_epochs=0", weights=backbone_pth)) == 0
    before, after = checkpoint.read(backbone_pth)["state_dict"], state(tmp_path / "run")
    assert all(not torch.equal(value, after[f"backbone.{name}"]) for name, value in before.items())


def _as_a_rank(words: list[str]) -> None:
    from transfer import finetune

    finetune.fine_tune(finetune.parse(words))


def test_two_processes_fine_tune_the_network_of_one(words, tmp_path, ranks):
    """Without what each process draws for its own share."""
    still = ["network=vit_mini_patch8", "pooling=class-token", "mixup=0"]
    finetune.main(words(tmp_path / "one", *still))
    ranks(2, _as_a_rank, words(tmp_path / "two", *still, "accumulate=2"))
    contents = [json.loads((tmp_path / run / "result.json").read_text()) for run in ("one", "two")]
    assert [content["processes"] for content in contents] == [1, 2]
    one, two = ([epoch["loss"] for epoch in content["history"]] for content in contents)
    assert one == pytest.approx(two, abs=1e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["drop_path=0.1", "network=resnet18", "--weights", "random"], "network=resnet18 has no drop_path; give"),
        (["pooling=mean"], "pooling=mean is for ViTs, and the weights are of resnet50"),
        (["pooling=mean", "network=vit_mini_patch8"], "pooling=mean is for ViTs, and the weights are of resnet50"),
        (["drop_path=0.1", "network=vit_mini_patch8"], "a ResNet has no drop_path; give drop_path=0"),
        (["batch_size=9"], "batch_size=9 is 9 images for each of 1 processes, and an odd number cannot be mixed"),
        (["--protocol", "semi-demo"], "unknown protocol 'semi-demo'; known: finetune-demo"),
    ],
)
def test_wrong_input_is_one_line(words, backbone_pth, tmp_path, more, message):
    with pytest.raises(UserError, match=message):
        finetune.main(words(tmp_path / "run", *more, weights=backbone_pth))
    assert not (tmp_path / "run").exists()


def test_a_file_is_judged_by_what_it_holds(words, tmp_path):
    """Not by network=, which is that of random weights, resnet50 where none is named."""
    vit = ["pooling=mean", "drop_path=0.1"]
    assert finetune.parse(words(tmp_path, *vit, weights="vit.pth")).weights == "vit.pth"
    with pytest.raises(UserError, match="network=resnet50 is none; give pooling=usual\n.*has no drop_path"):
        finetune.parse(words(tmp_path, *vit))


def test_the_images_must_be_whole_patches_of_the_networks_that_the_file_holds(words, tmp_path):
    from pretrain import backbones

    network = backbones.untrained("vit_mini_patch8", seed=0, side=32)
    about = {"method": "mae", "recipe": "demo", "epochs": 1, "seed": 0, "commit": "0123456789ab"}
    about["config"] = {"backbone": {"name": "vit_mini_patch8"}}
    seen = {"order": "RGB", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    content = {"format": "ssl-transfer-bench/backbone/1", "state_dict": network.state_dict(), "input": seen, **about}
    torch.save(content, tmp_path / "backbone.pth")
    with pytest.raises(UserError, match="size=36 is no multiple of the patch of 8 of vit_mini_patch8; give size=32"):
        finetune.main(words(tmp_path / "run", "size=36", "resize=36", weights=tmp_path / "backbone.pth"))
