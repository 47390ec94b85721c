from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.losses.shared_matmul import shared_matmul
from pretrain.methods import Embeddings, vicreg


class Trunk(nn.Identity):
    """A trunk of which only the width is asked."""

    width = 8


# lightly 1.6.0 in float64, values and gradients
LIGHTLY = np.load(Path(__file__).parents[1] / "losses/lightly_losses.npz")
SHAPES = {"wide": (6, 20), "square": (8, 8), "tall": (24, 8)}  # Gram form, then the covariance itself twice
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def rows(B: int, D: int) -> torch.Tensor:
    z = torch.randn(B, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (z * torch.linspace(0.2, 2, D, dtype=torch.float64) + 1).requires_grad_()


def terms(z1, z2, **settings) -> dict[str, torch.Tensor]:
    network = vicreg.Method(Trunk(), vicreg.Config(projector_width=8, **settings))
    return network.loss_terms(Embeddings((z1, z2), ()))


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_equals_lightly(shape):
    z1, z2 = (torch.from_numpy(LIGHTLY[f"{shape}_{name}"]).requires_grad_() for name in ("z1", "z2"))
    loss = sum(terms(z1, z2).values())
    loss.backward()
    assert loss.item() == pytest.approx(LIGHTLY[f"{shape}_vicreg"], abs=1e-9)
    for z, key in ((z1, "dz1"), (z2, "dz2")):
        close(z.grad, torch.from_numpy(LIGHTLY[f"{shape}_vicreg_{key}"]))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_eq4_with_every_entry_of_the_covariance(shape):
    z = rows(*shape)
    off = torch.cov(z.T)[~torch.eye(shape[1], dtype=torch.bool)].square().sum() / shape[1]
    close(vicreg.covariance(z), off)
    close(torch.autograd.grad(vicreg.covariance(z), z), torch.autograd.grad(off, z))


def test_eq1_holds_each_feature_by_a_hinge_at_one():
    """Standard deviations 0, 0.6 and 2 (of +-s in equal shares, B - 1): only what is below 1 counts."""
    signs = torch.tensor([1.0, -1.0] * 8, dtype=torch.float64)[:, None]
    unit = signs * (15 / 16) ** 0.5
    z = unit * torch.tensor([0.0, 0.6, 2.0], dtype=torch.float64)
    expected = [1 - 1e-2, 1 - (0.36 + 1e-4) ** 0.5, 0]
    assert vicreg.variance(z).item() == pytest.approx(sum(expected) / 3)


def test_total_collapse_costs_the_variance_term_and_nothing_else():
    point = torch.ones(6, 8, dtype=torch.float64)
    found = {key: value.item() for key, value in terms(point, point).items()}
    assert found == pytest.approx({"invariance": 0, "variance": 25 * 0.99, "covariance": 0})


def test_a_common_shift_of_both_views_changes_nothing_nor_does_the_order_of_images_or_views():
    z1, z2 = rows(6, 20), rows(6, 20).flip(1)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    for other in ((z1 + 5, z2 + 5), (z1[order], z2[order]), (z2, z1)):
        close(terms(*other), terms(z1, z2))


def test_the_weights_are_those_of_eq6():
    z1, z2 = rows(6, 20), rows(6, 20).flip(1)
    usual = terms(z1, z2)
    for name in usual:
        close(terms(z1, z2, **{name: 2 * getattr(vicreg.Config(), name)})[name], 2 * usual[name])


def shared(z):
    value = vicreg.covariance(z.requires_grad_(), matmul=shared_matmul)
    value.backward()
    return value.detach(), z.grad


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ranks_that_share_the_products_get_the_results_of_one(ranks, shape):
    z = rows(*shape).detach()
    expected = shared(z.clone())
    for found in ranks(2, shared, z):
        close(found, expected)
