"""The Matrix-SSL loss against values computed with the authors' release, and against its definition."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pretrain.losses import matrix_information as mi
from pretrain.losses.shared_matmul import shared_matmul
from pretrain.losses.taylor_traces import cross_log_trace
from pretrain.methods.matrix_ssl import paper_terms, released_terms, series_norm
from runtime import distributed
from runtime.command_line import UserError

REFERENCE = np.load(Path(__file__).parents[1] / "losses/losses.npz")
SHAPES = {"wide": (12, 40), "square": (16, 16), "tall": (48, 16)}  # (B, D): Gram form, then covariance form twice
VARIANTS = {"released": released_terms, "paper": paper_terms}
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
every_variant = pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)


def reference(name: str) -> torch.Tensor:
    return torch.from_numpy(REFERENCE[name])


def branches(B: int, D: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of an online and a target branch that agree in part."""
    draw = partial(torch.randn, B, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    common = draw()
    return (common + draw()).requires_grad_(), common + draw()


def covariances(online: torch.Tensor, target: torch.Tensor) -> list[torch.Tensor]:
    """C11, C12, C22 and the identity, D x D each, as the paper defines them."""
    z1, z2 = F.normalize(target, dim=1), F.normalize(online, dim=1)
    one = torch.eye(z1.shape[1], dtype=z1.dtype)
    return [mi.covariance(z1, z1), mi.covariance(z1, z2), mi.covariance(z2, z2), one]


def gradient(terms, online: torch.Tensor, *rest, **settings) -> torch.Tensor:
    return torch.autograd.grad(sum(terms(online, *rest, **settings).values()), online)[0]


def symmetric_released(shape: str, **settings):
    z1, z2 = (reference(f"{shape}_z{i}").requires_grad_() for i in (1, 2))
    p1, p2 = (reference(f"{shape}_p{i}") for i in (1, 2))
    one, two = released_terms(z1, p2, **settings), released_terms(z2, p1, **settings)
    loss = (sum(one.values()) + sum(two.values())) / 2
    loss.backward()
    return loss.detach(), z1.grad, z2.grad


@pytest.mark.parametrize("shape", ["tall", "wide"])
@pytest.mark.parametrize("order", [3, 4, 5])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
def test_released_loss_and_gradients_equal_the_release(shape, order, gamma):
    name = f"{shape}_matrix_ssl_o{order}_g{gamma}"
    loss, dz1, dz2 = symmetric_released(shape, order=order, gamma=gamma)
    for value, key in ((loss, name), (dz1, f"{name}_dz1"), (dz2, f"{name}_dz2")):
        close(value, reference(key))


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_released_loss_with_its_default_flags_of_one_half(shape):
    close(symmetric_released(shape, ridge=0.5, target_scale=0.5)[0], reference(f"{shape}_matrix_ssl_half"))


@pytest.mark.parametrize("key", [key for key in REFERENCE if "mec_taylor4" in key])
def test_maximum_entropy_coding_equals_its_release(key):
    shape, laminv = key.split("_mec_taylor4_laminv")
    z1, z2, p1, p2 = (F.normalize(reference(f"{shape}_{name}"), dim=1) for name in ("z1", "z2", "p1", "p2"))
    both = [cross_log_trace(p, z, scale=1 / float(laminv), order=4) for p, z in ((p1, z2), (p2, z1))]
    close(sum(both) / 2 / len(z1), reference(key))


@every_shape
@pytest.mark.parametrize("ridge", [1.0, 0.5, 1.2])
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6, 7, 9])
def test_the_fast_forms_equal_the_definition_with_matrix_powers(shape, ridge, order):
    online, target = branches(*shape)
    log = partial(mi.matrix_log_taylor, order=order)

    def released(online, target):
        C11, C12, C22, one = covariances(online, target)
        U, A = -0.3 * log(C12 + ridge * one).trace(), -((C11 + ridge * one) @ log(C22 + ridge * one)).trace()
        return {"uniformity": U, "alignment": 0.7 * A}

    def paper(online, target):
        C11, C12, C22, one = covariances(online, target)
        uniformity = mi.matrix_cross_entropy(one / len(one), C12 + ridge * one, log=log)
        alignment = -C12.trace() + 0.7 * mi.matrix_cross_entropy(C11 + ridge * one, C22 + ridge * one, log=log)
        return {"uniformity": uniformity, "alignment": alignment}

    fast = {"released": partial(released_terms, target_scale=0.3), "paper": paper_terms}
    for name, plain in (("released", released), ("paper", paper)):
        terms = partial(fast[name], gamma=0.7, ridge=ridge, order=order)
        want = plain(online, target)
        for key, value in terms(online, target).items():
            close(value, want[key])
        close(gradient(terms, online, target), gradient(plain, online, target))


@every_shape
@every_variant
@pytest.mark.parametrize("order", [1, 4, 5, None])
def test_gradients_are_those_of_the_values(shape, variant, order):
    online, target = branches(shape[0] // 4 + 1, shape[1] // 4 + 1)
    terms = partial(variant, order=order, gamma=0.7, ridge=0.9)
    assert torch.autograd.gradcheck(lambda z: tuple(terms(z, target).values()), online)


@every_variant
def test_gradients_reach_only_the_online_branch(variant):
    online, target = branches(12, 40)
    target.requires_grad_()
    sum(variant(online, target).values()).backward()
    assert online.grad.norm() > 0 and target.grad is None


@every_shape
def test_eq14_of_the_paper_and_the_release_differ_by_scale_and_by_the_trace_of_c22(shape):
    """With ridge 1: paper = U / D + gamma (A + tr C22) + constant, where the release is U + gamma A."""
    online, target = branches(*shape)
    D, gamma = shape[1], 0.5
    released, paper = released_terms(online, target), paper_terms(online, target, gamma=gamma)
    _, _, C22, _ = covariances(online, target)
    U, A = released["uniformity"], released["alignment"]
    constant = D + gamma * D  # each cross-entropy's tr(ridge I)
    close(sum(paper.values()), U / D + gamma * (A + C22.trace()) + constant)


def test_eq12_and_eq13_reduce_to_eq17_because_their_traces_of_c12_cancel():
    """With the exact logarithm: -tr(log C12)/D - gamma tr(C11 log C22) + gamma tr C22, every C with its ridge."""
    online, target = branches(48, 16)
    C11, C12, C22, one = covariances(online, target)
    C11, C12, C22, D = C11 + one, C12 + one, C22 + one, len(one)
    reduced = -torch.linalg.slogdet(C12).logabsdet / D - 0.5 * (C11 @ mi.matrix_log(C22)).trace() + 0.5 * C22.trace()
    found = sum(paper_terms(online, target, gamma=0.5, order=None).values())
    close(found, reduced + D)  # the constant: tr(ridge I), which eq. 12 has and eq. 13 has not


def test_known_states_have_their_known_values():
    """Collapse to a point gives 0; to a line, the order-4 logarithm of 2, once and twice."""
    point = torch.ones(32, 8, dtype=torch.float64)
    assert sum(released_terms(point, point).values()).item() == pytest.approx(0, abs=1e-12)
    line = torch.tensor([1.0, -1.0]).repeat(16)[:, None] * point
    terms = released_terms(line, line)
    assert terms["uniformity"].item() == pytest.approx(-7 / 12)
    assert terms["alignment"].item() == pytest.approx(-7 / 6)
    isotropic = F.normalize(branches(4096, 8)[1], dim=1)
    assert released_terms(isotropic, isotropic)["uniformity"].item() == pytest.approx(-8 * np.log(1 + 1 / 8), abs=1e-3)


@every_shape
@every_variant
def test_the_exact_logarithm_is_the_limit_of_the_taylor_orders(shape, variant):
    online, target = branches(*shape)
    exact = variant(online, target, order=None)
    errors = []
    for order in (2, 4, 8, 60):
        taylor = variant(online, target, order=order)
        errors.append(sum((taylor[key] - exact[key]).abs().item() for key in exact))
    assert errors[0] > errors[1] > errors[2] > errors[3] and errors[3] < 1e-9
    close(gradient(variant, online, target, order=None), gradient(variant, online, target, order=60))


def test_the_exact_logarithm_is_refused_where_it_does_not_exist():
    online, target = branches(12, 40)
    with pytest.raises(UserError, match="does not exist.*raise the ridge"):
        released_terms(online, target, order=None, ridge=0.0)  # 12 samples leave 29 of 40 eigenvalues at zero
    # Opposed views: C12 is negative, its determinant in an even dimension positive, its logarithm not real.
    online, _ = branches(48, 16)
    with pytest.raises(UserError, match="does not exist.*raise the ridge"):
        released_terms(online, -online.detach(), order=None, ridge=1e-3)
    assert torch.isfinite(released_terms(online, online.detach(), order=None, ridge=0.0)["uniformity"])


@pytest.mark.parametrize("order", [0, -1, 2.5])
def test_an_order_below_one_or_in_between_is_refused(order):
    with pytest.raises(UserError, match="whole number >= 1"):
        released_terms(*branches(12, 40), order=order)


def test_a_negative_ridge_is_refused():
    with pytest.raises(UserError, match=">= 0"):
        paper_terms(*branches(12, 40), ridge=-0.1)


@every_shape
@pytest.mark.parametrize("ridge", [1.0, 0.5, 2.5])
def test_series_norm_is_the_spectral_norm_of_theorem_a1(shape, ridge):
    online, target = branches(*shape)
    _, C12, C22, one = covariances(online, target)
    exact = max(torch.linalg.matrix_norm(C + (ridge - 1) * one, 2).item() for C in (C12, C22))
    assert series_norm(online, target, ridge=ridge) == pytest.approx(exact, rel=0.05)
    assert (series_norm(online, target, ridge=ridge) < 1) == (ridge < 2)


@every_variant
def test_float32_keeps_five_digits_of_the_gradient(variant):
    """The paper's terms cancel to first order; evaluated matrix by matrix they keep four digits at this size."""
    online, target = branches(128, 512)
    exact = gradient(variant, online, target)
    found = gradient(variant, online.detach().float().requires_grad_(), target.float())
    assert (found - exact).norm() < 5e-6 * exact.norm()


class CountedProduct(torch.autograd.Function):
    """A @ B that remembers the multiplications of each product, backward too."""

    sizes: list[int] = []

    @staticmethod
    def forward(ctx, A, B):
        ctx.save_for_backward(A, B)
        CountedProduct.sizes.append(A.shape[0] * A.shape[1] * B.shape[1])
        return A @ B

    @staticmethod
    def backward(ctx, grad):
        A, B = ctx.saved_tensors
        by_A = CountedProduct.apply(grad, B.T) if ctx.needs_input_grad[0] else None
        return by_A, CountedProduct.apply(A.T, grad) if ctx.needs_input_grad[1] else None


@pytest.mark.parametrize(("shape", "products"), [((12, 40), 13), ((48, 16), 14)], ids=["wide", "tall"])
def test_products_are_few_and_in_the_smaller_space(shape, products):
    """Forward and backward of one direction at order 4; evaluated matrix by matrix it takes 26, all of D x D."""
    CountedProduct.sizes.clear()
    gradient(partial(released_terms, matmul=CountedProduct.apply), *branches(*shape))
    small, large = min(shape) ** 3, min(shape) ** 2 * max(shape)
    assert len(CountedProduct.sizes) == products
    assert sorted(CountedProduct.sizes) == [small] * 9 + [large] * (products - 9)


def shared_share(name: str, online: torch.Tensor, target: torch.Tensor, order: int):
    """On one rank: gather the rows, the loss with shared products, and the gradient of this rank's rows."""
    B, world, rank = len(online), distributed.world_size(), distributed.rank()
    mine = slice(rank * B // world, (rank + 1) * B // world)
    local = online[mine].detach().clone().requires_grad_()
    terms = VARIANTS[name](distributed.gather(local), target, order=order, matmul=shared_matmul)
    sum(terms.values()).backward()
    return {key: value.detach() for key, value in terms.items()}, local.grad / world  # DDP's mean over ranks


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("shape", [(12, 40), (48, 15)], ids=["wide", "tall and indivisible"])
def test_ranks_that_share_the_products_get_the_results_of_one(ranks, world, shape):
    online, target = branches(*shape)
    for name, variant in VARIANTS.items():
        for order in (3, 4):
            want = variant(online, target, order=order)
            results = ranks(world, shared_share, name, online.detach(), target, order)
            for terms, _ in results:
                for key in want:
                    close(terms[key], want[key].detach())
            close(torch.cat([share for _, share in results]), gradient(variant, online, target, order=order))


def multiplied(A: torch.Tensor, B: torch.Tensor):
    rows = []
    product = torch.mm

    def counting(X, Y, **out):
        rows.append(len(X))
        return product(X, Y, **out)

    torch.mm = counting
    try:
        return shared_matmul(A, B), rows
    finally:
        torch.mm = product


def test_no_rank_multiplies_more_than_its_share_of_rows(ranks):
    A, B = branches(7, 7)
    results = ranks(4, multiplied, A.detach(), B)
    assert [rows for _, rows in results] == [[2], [2], [2], [1]]
    for whole, _ in results:
        close(whole, A.detach() @ B)
