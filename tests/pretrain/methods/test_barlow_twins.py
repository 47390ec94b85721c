from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.losses.shared_matmul import shared_matmul
from pretrain.methods import Embeddings, barlow_twins
from pretrain.methods.barlow_twins import correlation_terms, standardise


class Trunk(nn.Identity):
    """A trunk of which only the width is asked."""

    width = 8


# lightly 1.6.0 in float64, values and gradients
LIGHTLY = np.load(Path(__file__).parents[1] / "losses/lightly_losses.npz")
SHAPES = {"wide": (6, 20), "between": (18, 20), "tall": (24, 8)}  # Gram form, then C itself twice
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def views(B: int, D: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two views that agree in part; features of several scales, none centred."""
    common, one, two = torch.randn(3, B, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    scales = torch.linspace(0.5, 3, D, dtype=torch.float64)
    return ((common + one) * scales + 1).requires_grad_(), ((common + two) / scales).requires_grad_()


def plain(z1, z2, *, redundancy: float):
    """C in full, and every entry of it."""
    C = standardise(z1).T @ standardise(z2) / len(z1)
    off = ~torch.eye(len(C), dtype=torch.bool)
    return {"invariance": (1 - C.diagonal()).square().sum(), "redundancy": redundancy * C[off].square().sum()}


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_equals_lightly(shape):
    z1, z2 = (torch.from_numpy(LIGHTLY[f"{shape}_{name}"]).requires_grad_() for name in ("z1", "z2"))
    loss = sum(correlation_terms(z1, z2, redundancy=0.0051).values())
    loss.backward()
    assert loss.item() == pytest.approx(LIGHTLY[f"{shape}_barlow_twins"], abs=1e-9)
    for z, key in ((z1, "dz1"), (z2, "dz2")):
        close(z.grad, torch.from_numpy(LIGHTLY[f"{shape}_barlow_twins_{key}"]))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_gram_form_is_the_loss_written_with_every_entry_of_c(shape):
    z1, z2 = views(*shape)
    found, expected = correlation_terms(z1, z2, redundancy=0.3), plain(z1, z2, redundancy=0.3)
    for key in expected:
        close(found[key], expected[key])
    close(torch.autograd.grad(sum(found.values()), [z1, z2]), torch.autograd.grad(sum(expected.values()), [z1, z2]))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_no_d_by_d_matrix_is_made_where_the_gram_form_is_cheaper(shape):
    made = []

    def watched(A, B):
        made.append((A @ B).shape)
        return A @ B

    B, D = shape
    sum(correlation_terms(*views(B, D), redundancy=0.3, matmul=watched).values()).backward()
    assert ((D, D) in made) == (4 * B >= 3 * D)


def test_the_scale_and_the_shift_of_a_feature_do_not_matter():
    """Standardising removes both, up to its eps."""
    z1, z2 = views(24, 8)
    expected = correlation_terms(z1, z2, redundancy=0.3)
    found = correlation_terms(100 * z1 - 7, z2 * torch.arange(1, 9) + 3, redundancy=0.3)
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-3, atol=1e-3)


def test_the_views_may_change_places():
    z1, z2 = views(6, 20)
    for key, value in correlation_terms(z1, z2, redundancy=0.3).items():
        close(correlation_terms(z2, z1, redundancy=0.3)[key], value)


def test_is_zero_for_equal_views_whose_features_are_uncorrelated_and_d_squared_less_d_for_equal_features():
    """Columns of a Hadamard matrix: +1 and -1 in orthogonal patterns, none of them constant."""
    H = torch.ones(1, 1, dtype=torch.float64)
    for _ in range(3):
        H = torch.cat([torch.cat([H, H], 1), torch.cat([H, -H], 1)])
    terms = correlation_terms(H[:, 1:5], H[:, 1:5], redundancy=1.0)
    assert terms["invariance"].item() == pytest.approx(0, abs=1e-8)
    assert terms["redundancy"].item() == pytest.approx(0, abs=1e-8)
    equal = H[:, 1:2].expand(-1, 4)
    assert correlation_terms(equal, equal, redundancy=1.0)["redundancy"].item() == pytest.approx(12, rel=1e-4)


def test_the_scale_is_a_factor_of_every_term():
    z1, z2 = views(24, 8)
    terms = []
    for scale in (1.0, 0.1):
        network = barlow_twins.Method(Trunk(), barlow_twins.Config(projector_width=8, scale=scale))
        terms.append(network.loss_terms(Embeddings((z1, z2), ())))
    for name, value in terms[0].items():
        close(terms[1][name], 0.1 * value)


def shared(z1, z2):
    terms = correlation_terms(z1.requires_grad_(), z2.requires_grad_(), redundancy=0.3, matmul=shared_matmul)
    sum(terms.values()).backward()
    return {key: value.detach() for key, value in terms.items()}, z1.grad, z2.grad


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ranks_that_share_the_products_get_the_results_of_one(ranks, shape):
    z1, z2 = (z.detach() for z in views(*shape))
    expected = shared(z1.clone(), z2.clone())
    for found in ranks(2, shared, z1, z2):
        close(found, expected)
