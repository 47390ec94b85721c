import pytest
import torch
from torch import nn

from pretrain.optimisation import optimizers
from pretrain.optimisation.optimizers import OptimConfig


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def one_step(config: OptimConfig, *, gradient: float = 1.0, lr: float = 1.0) -> dict[str, torch.Tensor]:
    """How far each parameter moves in one step when every gradient is ``gradient``."""
    net = Net()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    optimizer = optimizers.build(net, config)
    optimizers.set_lr(optimizer, lr, peak=lr)
    optimizer.step()
    return {name: (before[name] - parameter).detach() for name, parameter in net.named_parameters()}


@pytest.mark.parametrize("gradient", [1e-3, 1e3])
def test_lars_step_is_a_share_of_the_weights_length_whatever_the_gradients(gradient):
    """You et al., eq. 6: with no decay and no momentum, |step| = lr * trust * |w|."""
    config = OptimConfig(name="lars", weight_decay=0.0, momentum=0.0, trust=0.01)
    moved = one_step(config, gradient=gradient, lr=2.0)["body.0.weight"]
    assert moved.norm().item() == pytest.approx(2.0 * 0.01 * Net().body[0].weight.norm().item(), rel=1e-4)


def test_larc_never_steps_further_than_sgd_would():
    """Small gradients: the layer's own rate is above the global one, which holds. Large ones: LARS at rate 1."""
    config = OptimConfig(name="larc", weight_decay=0.0, momentum=0.0, trust=0.01)
    small, large = (one_step(config, gradient=g, lr=2.0)["body.0.weight"] for g in (1e-4, 1e3))
    assert torch.allclose(small, torch.full_like(small, 2e-4), rtol=1e-3)
    assert large.norm().item() == pytest.approx(0.01 * Net().body[0].weight.norm().item(), rel=1e-4)


def test_excluded_vectors_take_the_plain_step_and_no_decay():
    """SimCLR, BYOL, Barlow Twins and VICReg: biases and norms learn by momentum SGD, undecayed, at their own rate."""
    config = OptimConfig(name="lars", weight_decay=0.5, exclude_1d=True, bias_lr=0.25)
    moved = one_step(config, gradient=0.1, lr=2.0)
    for name in ("body.0.bias", "body.1.weight", "body.1.bias"):
        assert torch.allclose(moved[name], torch.full_like(moved[name], 2.0 * 0.25 * 0.1))
    assert moved["body.0.weight"].abs().max() < 0.01  # adapted


def test_the_fused_sgd_is_the_plain_one_to_the_last_bit_and_goes_on_from_its_state():
    config = OptimConfig(name="sgd", weight_decay=1e-4)
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in ((64, 33, 3, 3), (64,), (8, 6))]
    start[0] = start[0].contiguous(memory_format=torch.channels_last)
    gradients = [[torch.randn_like(weight) for weight in start] for _ in range(4)]

    def go(net: nn.ParameterList, optimizer: torch.optim.Optimizer, steps: slice) -> None:
        for rate, of_step in zip((0.1, 0.2, 0.3, 0.4)[steps], gradients[steps], strict=True):
            optimizers.set_lr(optimizer, rate, peak=rate)
            for parameter, gradient in zip(net, of_step, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()

    nets = [nn.ParameterList(weight.clone() for weight in start) for _ in range(2)]
    fused, plain = (optimizers.build(net, config) for net in nets)
    assert fused.param_groups[0]["fused"] and not optimizers.build(Net(), config).param_groups[0]["fused"]
    for group in plain.param_groups:
        group["fused"] = None
    for net, optimizer in zip(nets, (fused, plain), strict=True):
        go(net, optimizer, slice(2))
    resumed = optimizers.build(nets[1], config)
    resumed.load_state_dict(plain.state_dict())
    go(nets[0], fused, slice(2, 4))
    go(nets[1], resumed, slice(2, 4))
    assert all(torch.equal(one, two) for one, two in zip(*nets, strict=True))


def test_without_the_exclusion_everything_decays():
    moved = one_step(OptimConfig(name="sgd", weight_decay=0.5), gradient=0.0)
    assert torch.allclose(moved["body.1.weight"], torch.full((4,), 0.5))


@pytest.mark.parametrize("rule, peak", [("linear", 0.3 * 4096 / 256), ("sqrt", 0.3 * 64), ("none", 0.3)])
def test_rate_follows_the_batch(rule, peak):
    assert optimizers.peak_lr(OptimConfig(lr=0.3, scale_lr=rule), 4096) == pytest.approx(peak)


def test_simclr_s_two_rules_meet_at_batch_4096():
    linear = optimizers.peak_lr(OptimConfig(lr=0.3, scale_lr="linear"), 4096)
    assert optimizers.peak_lr(OptimConfig(lr=0.075, scale_lr="sqrt"), 4096) == pytest.approx(linear)


def test_warm_up_begins_and_the_cosine_ends_where_the_config_says():
    """SwAV: from 0.3 to 4.8 in 10 epochs, then down to 0.0048."""
    config = OptimConfig(warmup_start=0.3, final_lr=0.001)
    rates = [optimizers.lr_at(s, config, peak=4.8, warmup_steps=10, total_steps=100) for s in (0, 9, 10, 100)]
    assert rates == pytest.approx([0.3 + 4.5 / 10, 4.8, 4.8, 0.0048])
