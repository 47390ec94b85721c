"""The contract of pretrain/methods: a file there is a method, and every method does this."""

import dataclasses
import inspect

import pytest
import torch
from torch import nn

from pretrain import backbone, batch_norm, config, distributed, methods, optimizers
from pretrain.command_line import UserError

# What makes a method small; each takes the ones it has.
SMALL = {"projector_width": 16, "predictor_width": 8, "output_width": 8, "queue_size": 16, "bn_groups": 2}
SMALL |= {"prototypes": 4, "classes": 4}
LABELS = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
every_method = pytest.mark.parametrize("name", methods.available())


def build(name: str, *, trunk=backbone.resnet50, seed: int = 0, **changes):
    torch.manual_seed(seed)
    module = methods.load(name)
    known = {field.name for field in dataclasses.fields(module.Config)}
    settings = module.Config(**{k: v for k, v in (SMALL | changes).items() if k in known})
    return module.Method(trunk(), settings)


def tiny_trunk() -> nn.Module:
    """Images of any size -> 2048 features, with the parts a trunk has: convolution, BN, pooling."""
    layers = [nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(32, 2048))


def two_views(n: int = 8, *, size: int = 32, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 3, size, size, generator=generator) for _ in range(2)]


def loss_of(network: nn.Module, views: list[torch.Tensor], *, parallel: nn.Module | None = None) -> torch.Tensor:
    """What the training loop does between a batch and its loss."""
    online, target = (tuple(distributed.gather(z) for z in branch) for branch in (parallel or network)(views)[:2])
    return sum(network.loss_terms(methods.Embeddings(online, target, LABELS)).values())


def step(network: nn.Module, views: list[torch.Tensor], *, progress: float = 0.5) -> torch.Tensor:
    loss = loss_of(network, views)
    network.zero_grad()
    loss.backward()
    torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.01).step()
    network.after_step(progress)
    return loss.detach()


@every_method
def test_takes_one_step_on_8_random_images(name):
    network = build(name)
    before = network.backbone.conv1.weight.clone()
    assert torch.isfinite(step(network, two_views()))
    assert not torch.equal(before, network.backbone.conv1.weight)
    assert set(network.backbone.state_dict()) == set(backbone.resnet50().state_dict())  # what convert.py will read


@every_method
def test_goes_on_from_its_state_dict_as_if_it_had_not_stopped(name):
    """Three steps in one go, or two, a new network with other initial weights, and the third."""
    network = build(name, trunk=tiny_trunk)
    for seed in (1, 2):
        step(network, two_views(seed=seed), progress=seed / 4)
    resumed = build(name, trunk=tiny_trunk, seed=5)
    resumed.load_state_dict({key: value.clone() for key, value in network.state_dict().items()})
    losses = [step(either, two_views(seed=3), progress=0.75) for either in (network, resumed)]
    assert torch.equal(*losses)
    for key, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def gradients_of_a_rank(name: str):
    from torch.nn.parallel import DistributedDataParallel

    share = 8 // distributed.world_size()
    mine = [view[distributed.rank() * share :][:share] for view in two_views(size=8)]
    network = batch_norm.synchronise(build(name, trunk=tiny_trunk), torch.device("cpu"))
    parallel = DistributedDataParallel(network, broadcast_buffers=False) if distributed.world_size() > 1 else None
    loss = loss_of(network, mine, parallel=parallel)
    loss.backward()
    gradients = {key: p.grad.numpy() for key, p in network.named_parameters() if p.grad is not None}
    network.after_step(0.5)
    return loss.item(), gradients, {key: buffer.numpy() for key, buffer in network.named_buffers()}


@every_method
def test_over_two_ranks_it_is_itself_on_the_whole_batch(ranks, name):
    """Loss, gradients through DDP and gather, and then the buffers: running statistics, queues, progress."""
    loss, gradients, buffers = gradients_of_a_rank(name)
    for loss_of_rank, gradients_of_both, buffers_of_rank in ranks(2, gradients_of_a_rank, name):
        assert loss_of_rank == pytest.approx(loss, rel=1e-5, abs=1e-6)
        assert gradients_of_both.keys() == gradients.keys() and buffers_of_rank.keys() == buffers.keys()
        for key, expected in gradients.items():
            assert abs(gradients_of_both[key] - expected).max() < 1e-4 * abs(expected).max() + 1e-6, key
        for key, expected in buffers.items():
            assert abs(buffers_of_rank[key] - expected).max() < 1e-5, key


@every_method
def test_refuses_the_settings_of_another_method(name):
    own = {field.name for field in dataclasses.fields(methods.load(name).Config)}
    others = {field.name for other in methods.available() for field in dataclasses.fields(methods.load(other).Config)}
    for foreign in sorted(others - own):
        with pytest.raises(UserError, match=f"unknown setting 'method.{foreign}'; known: "):
            config.resolve(name, "imagenet-100ep", [f"method.{foreign}=1"])


@every_method
def test_says_what_each_of_its_settings_is(name):
    settings = config.resolve(name, "imagenet-100ep", [])
    text = config.describe(settings.method)
    for field in dataclasses.fields(settings.method):
        assert f"  {field.name}\n" in text
    assert methods.title(name) in inspect.getdoc(methods.load(name)).splitlines()[0]


@pytest.mark.parametrize(
    "name, batch, peak, biases, views",
    [
        ("simclr", 4096, 4.8, 4.8, "simclr"),  # the paper, B.1: 0.075 x sqrt(batch)
        ("byol", 4096, 7.2, 7.2, "asymmetric"),  # released code: 0.45 x batch / 256 for 100 epochs
        ("moco_v2", 256, 0.03, 0.03, "symmetric"),  # README
        ("barlow_twins", 2048, 1.6, 0.0384, "asymmetric"),  # released code: 0.2 and 0.0048 x batch / 256
        ("vicreg", 2048, 2.4, 2.4, "asymmetric"),  # README: 0.3 x batch / 256 for 100 epochs
    ],
)
def test_recipes_come_to_the_rates_of_their_sources(name, batch, peak, biases, views):
    settings = config.resolve(name, "imagenet-100ep", [])
    rate = optimizers.peak_lr(settings.optim, settings.batch_size)
    assert (settings.batch_size, settings.views.recipe) == (batch, views)
    assert (rate, rate * settings.optim.bias_lr) == pytest.approx((peak, biases))
    assert settings.optim.exclude_1d == (settings.optim.name == "lars") == (name != "moco_v2")


def test_teacher_is_a_momentum_copy_that_no_gradient_reaches():
    network = build("matrix_ssl", teacher_momentum=0.9)
    student, teacher = network.backbone.conv1, network.teacher["backbone"].conv1
    assert torch.equal(student.weight, teacher.weight) and not teacher.weight.requires_grad
    with torch.no_grad():
        student.weight += 1.0
    start = teacher.weight.clone()
    network.after_step(0.0)  # progress 0: momentum as configured
    assert torch.allclose(teacher.weight, start + 0.1, atol=1e-6)
    network.after_step(1.0)  # progress 1: momentum 1, the teacher rests
    assert torch.allclose(teacher.weight, start + 0.1, atol=1e-6)


def test_matrix_ssl_heads_are_the_released_ones():
    """Three projector layers of one width with a frozen last bias and a plain BN; a two-layer predictor."""
    network = build("matrix_ssl")
    linear = [m for m in network.projector if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(2048, 16), (16, 16), (16, 16)]
    assert [m.bias is not None for m in linear] == [False, False, True] and not linear[2].bias.requires_grad
    assert not network.projector[-1].affine
    shapes = [(m.in_features, m.out_features) for m in network.predictor if isinstance(m, torch.nn.Linear)]
    assert shapes == [(16, 8), (8, 16)]


def test_released_and_paper_are_two_losses_by_name():
    network = build("matrix_ssl")
    embeddings = network(two_views())
    losses = {}
    for variant in ("released", "paper"):
        network = build("matrix_ssl", variant=variant)
        losses[variant] = sum(network.loss_terms(embeddings).values()).item()
    assert losses["released"] != pytest.approx(losses["paper"], rel=1e-3)


def test_a_series_that_cannot_converge_is_said_once(capsys):
    network = build("matrix_ssl", ridge=2.5)
    embeddings = network(two_views())
    network.loss_terms(embeddings)
    assert "does not converge on the first batch: |A - I| is" in capsys.readouterr().err
    network.loss_terms(embeddings)
    build("matrix_ssl").loss_terms(embeddings)  # ridge 1: converges
    assert capsys.readouterr().err == ""


def test_impossible_settings_of_the_method_are_named():
    cases = [
        ("matrix_ssl", {"order": 0}, "order must be at least 1"),
        ("matrix_ssl", {"ridge": -1.0}, "ridge must not be negative, got -1.0"),
        ("matrix_ssl", {"variant": "paper", "target_scale": 0.5}, "target_scale=0.5 is a setting of .*released"),
        ("mec", {"order": 0}, "order must be at least 1.*got 0"),
        ("mec", {"distortion": 0.0}, "distortion.*above 0; got 4, 0.0"),
    ]
    for name, changes, message in cases:
        with pytest.raises(UserError, match=message):
            build(name, **changes)
