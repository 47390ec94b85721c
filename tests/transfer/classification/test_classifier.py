import pytest
import torch
from torch import nn

from transfer.classification import classifier
from transfer.classification.classifier import Classifier
from transfer.classification.classifier_protocol import Settings, load

SMALL = {"size": 8, "resize": 8}


def trunk() -> nn.Module:
    """Convolution, norm, 2048 features: a backbone in small."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 2048, 3, 2), nn.BatchNorm2d(2048), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def step(settings: Settings) -> tuple[Classifier, dict, dict]:
    """A classifier after one step on four images; its state before and after."""
    network = Classifier(trunk(), 2048, 3, settings, seed=1)
    optimizer = classifier.optimizer(network, settings)
    classifier.set_rates(optimizer, 0, settings)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    return network, before, network.state_dict()


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_frozen_backbone_does_not_move_and_its_norms_see_no_batch(batch_norm):
    """Not its weights, not the running statistics of its norms; of the rest, everything that learns does."""
    network, before, after = step(Settings(batch_norm=batch_norm, optimizer="lars", **SMALL))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    norm = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"} if batch_norm else set()
    assert moved == {"linear.weight", "linear.bias"} | norm
    assert set(network.trained()) == moved
    assert not network.backbone[1].training and network.linear.training
    assert not network.train().backbone.training


def test_the_optimiser_holds_what_learns_and_nothing_else():
    settings = Settings(lr=0.5, batch_norm=True)
    network = Classifier(trunk(), 2048, 3, settings, seed=0)
    [group] = classifier.optimizer(network, settings).param_groups
    assert [id(p) for p in group["params"]] == [id(network.linear.weight), id(network.linear.bias)]
    settings = Settings(lr=0.5, lr_backbone=0.01, batch_size=512, scale_lr=True)
    network = Classifier(trunk(), 2048, 3, settings, seed=0)
    head, rest = classifier.optimizer(network, settings).param_groups
    assert (head["peak"], rest["peak"]) == (1.0, 0.02)
    assert len(head["params"]) + len(rest["params"]) == len(list(network.parameters()))


def test_fine_tuning_moves_everything():
    network, before, after = step(Settings(lr_backbone=0.1, **SMALL))
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert network.backbone[1].training and network.trained().keys() == before.keys()


def gradients(settings: Settings) -> dict:
    from torch.nn.parallel import DistributedDataParallel

    from runtime import distributed
    from transfer.classification.classifier import Classifier, synchronise

    images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    network = synchronise(Classifier(trunk(), 2048, 3, settings, seed=1).double(), torch.device("cpu"))
    parallel = DistributedDataParallel(network) if distributed.world_size() > 1 else network
    mine = distributed.shard(8)
    nn.functional.cross_entropy(parallel(images[mine]), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])[mine]).backward()
    return {name: p.grad.numpy() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("lr_backbone", [0.0, 0.1])
def test_gradients_over_two_processes_are_those_of_the_whole_batch(ranks, lr_backbone):
    """Frozen, with the norm before the classifier; and fine-tuned, where the backbone's norms see both shares too."""
    settings = Settings(lr_backbone=lr_backbone, batch_norm=True, **SMALL)
    alone = gradients(settings)
    assert any(name.startswith("backbone.") for name in alone) == bool(lr_backbone)
    for found in ranks(2, gradients, settings):
        assert found.keys() == alone.keys()
        assert all(found[name] == pytest.approx(alone[name], abs=1e-10) for name in alone)


def test_the_norm_is_a_switch_without_parameters():
    with_norm, without = (Classifier(nn.Identity(), 2048, 3, Settings(batch_norm=on), seed=0) for on in (True, False))
    assert {n for n, _ in with_norm.named_parameters()} == {n for n, _ in without.named_parameters()}
    rows = 5 + 3 * torch.randn(64, 2048, generator=torch.Generator().manual_seed(0))
    seen = with_norm.norm(rows)
    assert seen.mean(0).abs().max() < 1e-5 and (seen.std(0, correction=0) - 1).abs().max() < 1e-5
    assert torch.equal(without.norm(rows), rows)


def test_a_lars_step_is_trust_times_the_weights_norm():
    """Whatever the gradient's length: the first step of the weight is rate x trust x its norm. The bias starts at zero,
    has no length to go by, and takes the plain step."""
    network, before, after = step(Settings(optimizer="lars", lr=0.48, trust=0.001, **SMALL))
    moved = (after["linear.weight"] - before["linear.weight"]).norm()
    assert moved == pytest.approx(0.48 * 0.001 * before["linear.weight"].norm().item(), rel=1e-3)
    assert torch.allclose(after["linear.bias"], -0.48 * network.linear.bias.grad)


def test_the_first_weights_depend_on_the_seed_alone():
    torch.manual_seed(7)
    one = Classifier(nn.Identity(), 2048, 3, Settings(), seed=0).linear.weight
    torch.manual_seed(8)
    assert torch.equal(one, Classifier(nn.Identity(), 2048, 3, Settings(), seed=0).linear.weight)
    assert not torch.equal(one, Classifier(nn.Identity(), 2048, 3, Settings(), seed=1).linear.weight)


def test_many_images_through_a_frozen_backbone_in_parts(monkeypatch):
    network = Classifier(trunk(), 2048, 3, Settings(**SMALL), seed=0)
    images = torch.randn(10, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    whole = network(images)
    monkeypatch.setattr(classifier, "AT_ONCE", 3)
    assert torch.allclose(network(images), whole, atol=1e-6)


def plain_step(weight, bias, rows, labels, *, lr: float) -> dict:
    """One step of MAE's probe from zero momentum, in float64: batch norm without affine part (eps 1e-6, running
    statistics with momentum 0.1 and the unbiased variance), then LARS on the weight alone, trust 0.001."""
    mean, variance = rows.mean(0), rows.var(0, correction=0)
    normed = (rows - mean) / (variance + 1e-6).sqrt()
    shares = torch.softmax(normed @ weight.T + bias, 1)
    error = (shares - torch.eye(len(bias), dtype=rows.dtype)[labels]) / len(rows)
    grad = error.T @ normed
    return {
        "linear.weight": weight - lr * 0.001 * weight.norm() / grad.norm() * grad,
        "linear.bias": bias - lr * error.sum(0),
        "norm.running_mean": 0.1 * mean,
        "norm.running_var": 0.9 + 0.1 * rows.var(0, correction=1),
    }


def test_a_step_of_maes_probe_is_the_plain_restatement():
    """The bias does not begin at zero here: adapted, it would move by a thousandth of its length."""
    settings, _ = load("linear-mae-b", [])
    network = Classifier(nn.Identity(), 32, 5, settings, seed=0).double()
    network.in_bf16 = False
    nn.init.normal_(network.linear.bias, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    rows = 3 + 2 * torch.randn(16, 32, generator=generator, dtype=torch.float64)
    labels = torch.arange(16) % 5
    weight, bias = (parameter.detach().clone() for parameter in network.linear.parameters())
    optimizer = classifier.optimizer(network, settings)
    classifier.set_rates(optimizer, 10, settings)  # the warm-up's end
    nn.functional.cross_entropy(network(rows), labels).backward()
    optimizer.step()
    state = network.state_dict()
    for name, value in plain_step(weight, bias, rows, labels, lr=6.4).items():
        assert torch.allclose(state[name], value, rtol=1e-6, atol=1e-12), name


def test_a_warm_up_and_its_cosine_go_step_by_step():
    """MAE's util/lr_sched.py: straight from 0 to the peak over 10 of 90 epochs, then half a cosine to 0."""
    settings, _ = load("linear-mae-b", [])
    rates = [classifier.peak(settings.lr, settings) * classifier.factor(e, settings) for e in (0, 0.5, 5, 10, 50, 90)]
    assert rates == pytest.approx([0, 0.32, 3.2, 6.4, 3.2, 0])
