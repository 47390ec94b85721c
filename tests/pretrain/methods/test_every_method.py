"""The contract of pretrain/methods: a file there is a method, and every method does this."""

import dataclasses
import inspect
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from pretrain import config, methods, training_loop
from pretrain.backbones import resnet, vit
from pretrain.data import datasets
from pretrain.networks import batch_norm, compiled
from pretrain.optimisation import optimizers
from runtime import distributed
from runtime.command_line import UserError
from runtime.settings import describe

# What makes a method small; each takes the ones it has.
SMALL = {"projector_width": 16, "predictor_width": 8, "output_width": 8, "queue_size": 16, "bn_groups": 2}
SMALL |= {"prototypes": 4, "classes": 4, "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2}
LABELS = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
every_method = pytest.mark.parametrize("name", methods.available())
MASKED = {name for name in methods.available() if methods.masks_patches(name)}


def build(name: str, *, trunk=None, seed: int = 0, **changes):
    """A method of small heads around a ResNet-50, or around a ViT where patches are masked."""
    torch.manual_seed(seed)
    trunk = trunk or (tiny_vit if name in MASKED else resnet.resnet)
    module = methods.load(name)
    known = {field.name for field in dataclasses.fields(module.Config)}
    settings = module.Config(**{k: v for k, v in (SMALL | changes).items() if k in known})
    return module.Method(trunk(), settings)


def tiny_trunk() -> nn.Module:
    """Images of any size -> 24 features, with the parts a trunk has: convolution, BN, pooling."""
    layers = [nn.Conv2d(3, 8, 3, 2, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    trunk = nn.Sequential(*layers, nn.Linear(32, 24, bias=False))  # a head's BN cancels a bias: its gradient is noise
    trunk.width = 24  # that of no usual network: methods ask for it
    return trunk


def tiny_vit() -> nn.Module:
    """Images of 32 pixels -> 8 features, by 16 patches and two blocks."""
    return vit._vit(vit.Size(width=8, depth=2, heads=2), 8, grid=4)


def tiny(name: str):
    """The smallest trunk that a method takes."""
    return tiny_vit if name in MASKED else tiny_trunk


def no_trunk(width: int = 2048) -> nn.Module:
    """A trunk of which only the width is asked."""
    trunk = nn.Identity()
    trunk.width = width
    return trunk


def two_views(n: int = 8, *, size: int = 32, seed: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 3, size, size, generator=generator) for _ in range(2)]


def loss_of(network: nn.Module, views: list[torch.Tensor], *, parallel: nn.Module | None = None) -> torch.Tensor:
    """What the training loop does between a batch and its loss."""
    first = distributed.rank() * len(views[0])
    keys = torch.tensor([(0, 0, first + i) for i in range(len(views[0]))])
    prepared = network.prepare(views, keys) if hasattr(network, "prepare") else (views,)
    online, target = (tuple(distributed.gather(z) for z in branch) for branch in (parallel or network)(*prepared)[:2])
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
    first, kept = next(network.backbone.parameters()), set(network.backbone.state_dict())
    before = first.clone()
    assert torch.isfinite(step(network, two_views()))
    assert not torch.equal(before, first)
    assert set(network.backbone.state_dict()) == kept  # what convert.py will read


@every_method
def test_goes_on_from_its_state_dict_as_if_it_had_not_stopped(name):
    """Three steps in one go, or two, a new network with other initial weights, and the third."""
    network = build(name, trunk=tiny(name))
    for seed in (1, 2):
        step(network, two_views(seed=seed), progress=seed / 4)
    resumed = build(name, trunk=tiny(name), seed=5)
    resumed.load_state_dict({key: value.clone() for key, value in network.state_dict().items()})
    losses = [step(either, two_views(seed=3), progress=0.75) for either in (network, resumed)]
    assert torch.equal(*losses)
    for key, value in network.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@every_method
def test_compiled_into_one_graph_it_is_itself(name):
    """Losses, gradients and buffers of two steps; the backend keeps torch's own kernels."""
    plain, other = build(name, trunk=tiny(name)), build(name, trunk=tiny(name))
    parallel = compiled.Compiled(other, backend="aot_eager")
    for seed in (1, 2):
        losses = loss_of(plain, two_views(seed=seed)), loss_of(other, two_views(seed=seed), parallel=parallel)
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6, abs=1e-6)
        for network, loss in zip((plain, other), losses, strict=True):
            loss.backward()
            network.after_step(seed / 4)
    for (key, one), two in zip(plain.named_parameters(), other.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None), key
        assert one.grad is None or torch.allclose(one.grad, two.grad, rtol=1e-6, atol=1e-6), key
    for (key, one), two in zip(plain.named_buffers(), other.buffers(), strict=True):
        assert torch.allclose(one, two, rtol=1e-6, atol=1e-6), key


def test_a_network_that_is_not_one_graph_is_refused():
    class Chooses(nn.Linear):
        def forward(self, input):
            return super().forward(input) if input.sum() > 0 else input

    with pytest.raises(UserError, match="is not one graph .*; use compile=false"):
        compiled.Compiled(Chooses(2, 2), backend="aot_eager")(torch.ones(2, 2))


def refused_compilation() -> str:
    try:
        compiled.check(torch.device("cpu"))
    except UserError as error:
        return str(error)


def test_several_processes_and_a_cpu_without_a_compiler_do_not_compile(ranks, monkeypatch):
    assert all("the run has 2 processes" in text for text in ranks(2, refused_compilation))
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "needs a C++ compiler, found no no-such-compiler" in refused_compilation()


def gradients_of_a_rank(name: str):
    from torch.nn.parallel import DistributedDataParallel

    share = 8 // distributed.world_size()
    mine = [view[distributed.rank() * share :][:share] for view in two_views(size=32 if name in MASKED else 8)]
    network = batch_norm.synchronise(build(name, trunk=tiny(name)), torch.device("cpu"))
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
    text = describe(settings.method)
    for field in dataclasses.fields(settings.method):
        assert f"  {field.name}\n" in text
    assert methods.title(name) in inspect.getdoc(methods.load(name)).splitlines()[0]


@every_method
def test_labels_reach_the_methods_that_learn_from_them_and_no_other(name):
    """What the settings of a method say is what its network does."""
    labelled = methods.learns_from_labels(name)
    network = build(name, trunk=tiny(name))
    assert labelled == hasattr(network, "classes")
    views = two_views()[: methods.takes_views(name)[0]]
    settings = config.resolve(name, "imagenet-100ep", ["precision=fp32"])
    batch = datasets.Batch(views, LABELS, [], keys=torch.arange(24).reshape(8, 3))
    embeddings = training_loop.embed(network, batch, settings, torch.device("cpu"), labelled=labelled)
    assert torch.equal(embeddings.labels, LABELS) if labelled else embeddings.labels is None
    assert network.loss_terms(embeddings)


# Batch, optimiser, peak rate, that of biases, decay, whether it spares biases and norms, warm-up in epochs, last rate.
SGD_MOCO_V3 = (1024, "sgd", 2.0, 2.0, 1e-5, False, 10, 0.0)
RATES = {
    "matrix_ssl": SGD_MOCO_V3,  # released code: 0.5 x batch / 256
    "mec": SGD_MOCO_V3,
    "simsiam": (512, "sgd", 0.1, 0.1, 1e-4, False, 0, 0.0),  # 0.05 x batch / 256
    "simclr": (4096, "lars", 4.8, 4.8, 1e-6, True, 10, 0.0),  # the paper, B.1: 0.075 x sqrt(batch)
    "byol": (4096, "lars", 7.2, 7.2, 1e-6, True, 10, 0.0),  # released code: 0.45 x batch / 256 for 100 epochs
    "moco_v2": (256, "sgd", 0.03, 0.03, 1e-4, False, 0, 0.0),  # README
    "swav": (4096, "lars", 4.8, 4.8, 1e-6, False, 10, 0.0048),  # released command
    "barlow_twins": (2048, "lars", 1.6, 0.0384, 1e-6, True, 10, 0.0016),  # released code: 0.2 and 0.0048 x batch / 256
    "spectral_contrastive": (384, "sgd", 0.075, 0.075, 1e-4, False, 0, 0.0),  # released config: 0.05 x batch / 256
    "vicreg": (2048, "lars", 2.4, 2.4, 1e-6, True, 10, 0.0024),  # README: 0.3 x batch / 256 for 100 epochs
    "supervised": (256, "sgd", 0.1, 0.1, 1e-4, False, 0, 0.0),  # torchvision's reference
    "mae": (4096, "adamw", 2.4e-3, 2.4e-3, 0.05, True, 40, 0.0),  # PRETRAIN.md: 1.5e-4 x batch / 256
    "u_mae": (1024, "adamw", 6e-4, 6e-4, 0.05, True, 40, 0.0),  # pretrain.sh: 8 x 128 images, the same rule
    "m_mae": (1024, "adamw", 6e-4, 6e-4, 0.05, True, 40, 0.0),
}
# Views, smallest crop, how many small views, resampling, normalisation, residual branches that start at zero.
BYOL_VIEWS = ("asymmetric", 0.08, 0, "bicubic", "imagenet", True)
VIEWS = {
    "matrix_ssl": ("asymmetric", 0.2, 0, "bilinear", "imagenet", True),
    "mec": ("asymmetric", 0.2, 0, "bilinear", "imagenet", True),
    "simsiam": ("symmetric", 0.2, 0, "bilinear", "imagenet", True),
    "simclr": ("simclr", 0.08, 0, "bicubic", "none", True),
    "byol": BYOL_VIEWS,
    "moco_v2": ("symmetric", 0.2, 0, "bilinear", "imagenet", False),
    "swav": ("simclr", 0.14, 6, "bilinear", "swav", False),
    "barlow_twins": BYOL_VIEWS,
    "spectral_contrastive": ("symmetric", 0.2, 0, "bilinear", "imagenet", True),
    "vicreg": (*BYOL_VIEWS[:-1], False),
    "supervised": ("supervised", 0.08, 0, "bilinear", "imagenet", False),
    **dict.fromkeys(("mae", "u_mae", "m_mae"), ("masked", 0.2, 0, "bicubic", "imagenet", True)),
}


@every_method
def test_recipes_come_to_the_numbers_of_their_sources(name):
    settings = config.resolve(name, "imagenet-100ep", [])
    optim, seen = settings.optim, settings.views
    peak = optimizers.peak_lr(optim, settings.batch_size)
    last = optimizers.lr_at(100, optim, peak=peak, warmup_steps=0, total_steps=100)
    found = (settings.batch_size, optim.name, peak, peak * optim.bias_lr, optim.weight_decay)
    assert (*found, optim.exclude_1d, optim.warmup_epochs, last) == pytest.approx(RATES[name])
    found = (seen.recipe, seen.min_scale, seen.small, seen.interpolation, seen.normalisation)
    assert (*found, settings.backbone.zero_init_residual) == VIEWS[name]
    assert (optim.momentum, optim.beta2, optim.trust) == (0.9, 0.95 if name in MASKED else 0.999, 0.001)


# Widths; whether the last layer has a bias; whether there is a BN between layers; whether one after the last is affine
# (None: there is none).
SIAMESE = {
    "projector": ([2048, 2048, 2048, 2048], True, True, False),
    "predictor": ([2048, 512, 2048], True, True, None),
}
HEADS = {
    "matrix_ssl": SIAMESE,
    "mec": SIAMESE,
    "simsiam": SIAMESE,
    "simclr": {"projector": ([2048, 2048, 128], True, False, None)},
    "moco_v2": {"projector": ([2048, 2048, 128], True, False, None)},
    "byol": {
        "projector": ([2048, 4096, 256], False, True, None),
        "predictor": ([256, 4096, 256], False, True, None),
    },
    "swav": {"projector": ([2048, 2048, 128], True, True, None)},
    "barlow_twins": {"projector": ([2048, 8192, 8192, 8192], False, True, None)},
    "vicreg": {"projector": ([2048, 8192, 8192, 8192], False, True, None)},
    "spectral_contrastive": {"projector": ([2048, 8192, 8192, 8192], False, True, True)},
    "supervised": {},
}


@pytest.mark.parametrize("name", sorted(set(methods.available()) - MASKED))
def test_heads_are_those_of_the_sources(name):
    """But for the bias of a layer before a BN, which some sources have and the BN cancels."""
    module = methods.load(name)
    with torch.device("meta"):  # shapes alone: some heads have a hundred million weights
        network = module.Method(no_trunk(), module.Config())
    heads = {part: child for part, child in network.named_children() if part in ("projector", "predictor")}
    assert heads.keys() == HEADS[name].keys()
    for part, (widths, last_bias, norm_between, norm_last) in HEADS[name].items():
        linear = [layer for layer in heads[part] if isinstance(layer, nn.Linear)]
        norms = [layer for layer in heads[part] if isinstance(layer, nn.BatchNorm1d)]
        assert [linear[0].in_features, *(layer.out_features for layer in linear)] == widths
        assert (linear[-1].bias is not None) == last_bias
        assert [norm.affine for norm in norms] == [True] * (len(linear) - 1) * norm_between + [norm_last] * (
            norm_last is not None
        )


@pytest.mark.parametrize("name", ["simsiam", "moco_v2", "barlow_twins"])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_projectors_have_as_many_layers_as_a_recipe_wants(name, layers):
    """CIFAR recipes take one away; the width that comes out stays, and so does the BN that ends SimSiam's."""
    module = methods.load(name)
    with torch.device("meta"):
        network = module.Method(no_trunk(), module.Config(layers=layers))
        usual = module.Method(no_trunk(), module.Config())
    widths, usual_widths = (
        [layer.out_features for layer in whole.projector if isinstance(layer, nn.Linear)] for whole in (network, usual)
    )
    assert len(widths) == layers and widths[-1] == usual_widths[-1]
    assert type(network.projector[-1]) is type(usual.projector[-1])


def test_every_method_is_asked_whether_it_learns():
    """The preset behind the table in docs/methods.md; masked ones, of ViTs, have their own."""
    preset = yaml.safe_load((Path(__file__).parents[3] / "slurm/presets/methods-demo.yaml").read_text())
    assert sorted(preset["methods"]) == sorted(["random", *set(methods.available()) - MASKED])


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
    said = capsys.readouterr().err
    assert "may not converge on the first batch: |A - I| is" in said and "move method.ridge=2.5" in said
    network.loss_terms(embeddings)
    build("matrix_ssl").loss_terms(embeddings)  # ridge 1: converges
    assert capsys.readouterr().err == ""
