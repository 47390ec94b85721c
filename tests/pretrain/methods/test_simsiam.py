from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pretrain.backbones import resnet
from pretrain.methods import Embeddings, simsiam
from pretrain.monitoring.health import Watch, embedding_rank
from pretrain.optimisation import optimizers
from runtime.command_line import UserError

# lightly 1.6.0 in float64, values and gradients
LIGHTLY = np.load(Path(__file__).parents[1] / "losses/lightly_losses.npz")


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_equals_lightly(shape):
    p, z = (torch.from_numpy(LIGHTLY[f"{shape}_{name}"]) for name in ("z1", "z2"))
    loss = simsiam.negative_cosine(p.requires_grad_(), z)
    loss.backward()
    assert loss.item() == pytest.approx(LIGHTLY[f"{shape}_negative_cosine"].item(), abs=1e-9)
    reference = torch.from_numpy(LIGHTLY[f"{shape}_negative_cosine_dz1"])
    torch.testing.assert_close(p.grad, reference, rtol=0, atol=1e-9)


def test_loss_is_the_mean_of_both_directions_and_minus_one_when_aligned():
    """Four unit vectors in the plane: p1 = z2 (cosine 1), p2 at 60 degrees to z1 (cosine 1/2)."""
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    sixty = torch.tensor([[0.5, 3**0.5 / 2]] * 2)
    network = simsiam.Method(resnet.resnet(), simsiam.Config(projector_width=8, predictor_width=4))
    assert network.loss_terms(Embeddings((z, sixty), (z, z)))["similarity"].item() == pytest.approx(-0.75)
    assert network.loss_terms(Embeddings((z, z), (z, z)))["similarity"].item() == pytest.approx(-1.0)


def test_loss_is_half_the_squared_distance_of_unit_rows_up_to_a_constant():
    """|p/|p| - z/|z||^2 = 2 - 2 cos (section 3 of the paper names the equivalence)."""
    p, z = torch.randn(2, 16, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    squared = (F.normalize(p, dim=1) - F.normalize(z, dim=1)).square().sum(1).mean()
    assert torch.isclose(simsiam.negative_cosine(p, z), squared / 2 - 1)


@pytest.mark.parametrize("stop", [True, False])
def test_the_target_is_held_still_or_not(stop):
    config = simsiam.Config(projector_width=8, predictor_width=4, stop_gradient=stop)
    network = simsiam.Method(resnet.resnet(), config)
    p, z = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    z.requires_grad_()
    terms = network.loss_terms(Embeddings((p.requires_grad_(), p), (z, z)))
    terms["similarity"].backward()
    assert p.grad is not None and (z.grad is None) == stop


def test_the_predictor_keeps_the_peak_rate_while_the_rest_follows_the_cosine():
    network = simsiam.Method(resnet.resnet(), simsiam.Config(projector_width=8, predictor_width=4))
    optimizer = optimizers.build(network, optimizers.OptimConfig())
    optimizers.set_lr(optimizer, 0.01, peak=0.1)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rate_of[id(network.predictor[0].weight)] == 0.1 and rate_of[id(network.backbone.conv1.weight)] == 0.01
    assert len(rate_of) == sum(p.requires_grad for p in network.parameters())


def trained(*, stop_gradient: bool, watch: Watch, steps: int = 150) -> float:
    """Train a small convolutional network on 32 noise images, two noisy views each; the loss at the end."""
    torch.manual_seed(0)
    trunk = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(144, 2048)
    )
    config = simsiam.Config(stop_gradient=stop_gradient, projector_width=32, predictor_width=16)
    trunk.width = 2048
    network = simsiam.Method(trunk, config)
    optimizer = optimizers.build(network, optimizers.OptimConfig(name="adamw"))
    optimizers.set_lr(optimizer, 0.01, peak=0.01)
    images = torch.randn(32, 3, 12, 12)
    for step in range(steps):
        embeddings = network([images + 2 * torch.randn_like(images) for _ in range(2)])
        loss = network.loss_terms(embeddings)["similarity"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        watch.check_rank(embedding_rank(embeddings.online[0]), step)
    return loss.item()


@pytest.mark.slow
def test_without_the_stop_gradient_it_collapses_and_the_alarm_says_so():
    """The paper's Table 1 and Figure 2: the loss goes to -1, and all embeddings point one way."""
    with pytest.raises(UserError, match=r"collapse at step \d+: the embeddings' effective rank is 1\."):
        trained(stop_gradient=False, watch=Watch(collapse_rank=1.2, patience=3))
    collapsed = trained(stop_gradient=False, watch=Watch(collapse_rank=0, patience=3))
    assert collapsed < -0.9 < trained(stop_gradient=True, watch=Watch(collapse_rank=1.2, patience=3))
