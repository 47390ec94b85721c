"""The parts of fine-tuning: layers and their rates, pooling, targets, what is random."""

import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pretrain import backbones
from runtime.command_line import UserError
from transfer import finetune
from transfer.classification import fine_tuning, random_state
from transfer.classification.classifier import Classifier
from transfer.classification.classifier_protocol import load
from transfer.classification.fine_tuning import FineTuning
from transfer.classification.settings import FineTuneSettings

VIT = "vit_mini_patch8"


def classifier_of(name: str, *, pooling: str = "usual", drop_path: float = 0.0, **changes) -> Classifier:
    network = backbones.untrained(name, seed=0, side=32, drop_path=drop_path)
    fine_tuning.pool(network, name, pooling)
    settings = FineTuneSettings(network=name, size=32, resize=32, pooling=pooling, drop_path=drop_path, **changes)
    return Classifier(network, network.width, 8, settings, seed=0)


def shares(network: Classifier, name: str, **changes) -> dict[str, tuple[float, float]]:
    """Parameter -> its share of the rate, and its weight decay."""
    groups = fine_tuning.optimizer(network, name, FineTuneSettings(network=name, **changes)).param_groups
    of = {id(p): (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    return {key: of[id(parameter)] for key, parameter in network.named_parameters()}


@pytest.mark.parametrize("pooling", ["class-token", "mean"])
def test_the_layers_of_a_vit_are_maes(pooling):
    """MAE's util/lr_decay.py: embeddings 0, block i is i + 1, the rest is depth + 1, whose rate is whole."""
    network = classifier_of(VIT, pooling=pooling)
    depth, decay = len(network.backbone.blocks), 0.65
    for key, (share, weight_decay) in shares(network, VIT, layer_decay=decay).items():
        name = key.removeprefix("backbone.")
        if name.startswith(("cls_token", "pos_embed", "patch_embed")):
            layer = 0
        else:
            layer = int(name.split(".")[1]) + 1 if name.startswith("blocks.") else depth + 1
        assert share == pytest.approx(decay ** (depth + 1 - layer)), key
        vector = network.get_parameter(key).ndim == 1 or name in ("cls_token", "pos_embed")
        assert weight_decay == (0.0 if vector else 0.05), key
    assert ("fc_norm.weight" in dict(network.backbone.named_parameters())) == (pooling == "mean")


def test_the_layers_of_a_resnet_are_its_blocks_and_those_of_timms_networks_timms():
    of = shares(classifier_of("resnet18"), "resnet18", layer_decay=0.5)
    blocks = [f"backbone.layer{stage}.{block}.conv1.weight" for stage in (1, 2, 3, 4) for block in (0, 1)]
    order = ["backbone.conv1.weight", *blocks, "linear.weight"]
    assert [of[key][0] for key in order] == [0.5 ** (9 - layer) for layer in range(10)]
    name = "timm:convnext_atto"
    convnext = shares(classifier_of(name), name, layer_decay=0.5)
    assert convnext["linear.weight"][0] == 1 > convnext["backbone.stages.0.blocks.0.mlp.fc1.weight"][0]
    assert {share for share, _ in shares(classifier_of(name), name, layer_decay=1.0).values()} == {1.0}


def test_the_mean_is_of_the_patch_tokens_before_the_norm():
    network = classifier_of(VIT, pooling="mean").eval().backbone
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = network.forward_features(images)
    assert torch.allclose(network(images), network.fc_norm(tokens[:, 1:].mean(1)), atol=1e-6)
    assert isinstance(network.norm, nn.Identity)


def test_other_families_have_no_tokens():
    with pytest.raises(UserError, match="pooling=mean is for ViTs, and the weights are of resnet18"):
        classifier_of("resnet18", pooling="mean")


@pytest.mark.parametrize("mixed", [False, True])
def test_the_loss_is_timms(mixed):
    from timm.loss import LabelSmoothingCrossEntropy, SoftTargetCrossEntropy

    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    soft = torch.randn(4, 8, generator=generator, dtype=torch.float64).softmax(1)
    targets = soft if mixed else torch.arange(4)
    theirs = SoftTargetCrossEntropy() if mixed else LabelSmoothingCrossEntropy(0.1)
    ours = SimpleNamespace(mix=mixed, settings=FineTuneSettings(label_smoothing=0.1))
    assert FineTuning._loss(ours, scores, targets).item() == pytest.approx(theirs(scores, targets).item(), rel=1e-12)


def test_the_rate_rises_then_falls_to_its_least():
    settings, _ = load("finetune-mae-b", [])
    group = {"lr_scale": 0.5}
    found = []
    for step in (0, 25, 50, 525, 1000):
        here = SimpleNamespace(
            settings=settings, step=step, per_epoch=10, optimizer=SimpleNamespace(param_groups=[group])
        )
        FineTuning._set_rates(here)
        found.append(group["lr"] / 0.5)
    peak = 5e-4 * 1024 / 256
    assert found == pytest.approx([0, peak / 2, peak, (peak + 1e-6) / 2, 1e-6])


def test_random_numbers_are_a_function_of_the_key_and_leave_no_trace():
    def three() -> tuple:
        return random.random(), np.random.rand(), torch.rand(()).item()

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    undisturbed = three()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    drawn = []
    for key in ((0, 5), (0, 6), (0, 5)):
        with random_state.drawn_from(*key):
            drawn.append(three())
    assert drawn[0] == drawn[2] and not set(drawn[0]) & set(drawn[1])
    assert three() == undisturbed


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["layer_decay=0"], "layer_decay must be above 0, at most 1"),
        (["layer_decay=1.1"], "layer_decay must be above 0, at most 1"),
        (["mixup=-1", "cutmix=-0.5"], r"mixup must be 0 or more, got -1.0\n.*cutmix must be 0 or more, got -0.5"),
        (["drop_path=1"], "drop_path must be from 0 to below 1"),
        (["augment=auto"], "augment=auto is no RandAugment"),
        (["accumulate=3"], "batch_size=1024 is no multiple of accumulate=3"),
        (["warmup_epochs=100"], "warmup_epochs=100 must be below epochs=100"),
        (["network=resnet50"], "pooling=mean is for ViTs, and network=resnet50 is none.*\n.*has no drop_path"),
        (["size=100"], "images of 100 pixels are no multiple of its patch of 16; 96 would be"),
        (["pooling=max"], "pooling must be one of usual, class-token, mean"),
        (["lr_backbone=1"], "unknown setting 'lr_backbone'"),
    ],
)
def test_settings_that_cannot_be_are_one_line(pairs, message):
    options = "--protocol finetune-mae-b --weights random --benchmark pets --data pets --out out"
    with pytest.raises(UserError, match=message):
        finetune.parse([*options.split(), *pairs])


def test_the_published_settings_of_mae():
    """FINETUNE.md of facebookresearch/mae."""
    base = load("finetune-mae-b", [])[0]
    large, huge = (load(f"finetune-mae-{size}", [])[0] for size in "lh")
    shared = (base.mixup, base.cutmix, base.random_erasing, base.weight_decay, base.label_smoothing, base.pooling)
    assert shared == (0.8, 1.0, 0.25, 0.05, 0.1, "mean")
    changes = {"epochs": 50, "lr": 1e-3, "layer_decay": 0.75, "drop_path": 0.2, "network": "vit_large_patch16"}
    assert large == replace(base, **changes)
    assert huge == replace(large, drop_path=0.3, network="vit_huge_patch14")
