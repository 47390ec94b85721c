"""The regularisers of U-MAE and M-MAE on class tokens."""

import math
from functools import partial

import pytest
import torch

from pretrain.methods import m_mae, u_mae
from runtime import distributed

close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
SHAPES = {"tall": (12, 5), "square": (6, 6), "wide": (4, 9)}  # the smaller Gram matrix is that of columns, both, rows
REGULARISERS = {
    "u_mae": u_mae.regulariser,
    "m_mae": partial(m_mae.regulariser, mu=3.0),
    "m_mae by batch": partial(m_mae.regulariser, mu=3.0, scale="batch"),
}


def rows(m: int, d: int) -> torch.Tensor:
    """Rows of several lengths around a common direction."""
    f = torch.randn(m, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return ((f + 1) * torch.linspace(0.1, 4, m, dtype=torch.float64)[:, None]).requires_grad_()


def plain(name: str, f: torch.Tensor) -> torch.Tensor:
    """Pair by pair, and by the determinant of a d x d matrix, as the released loss_func.py of M-MAE has it."""
    F = torch.stack([row / row.norm() for row in f])
    m, d = F.shape
    if name == "u_mae":
        return sum((F[i] @ F[j]) ** 2 for i in range(m) for j in range(m)) / m**2
    side = d if name == "m_mae" else m
    return -torch.logdet(torch.eye(d, dtype=F.dtype) + 3.0 / side * F.T @ F)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", REGULARISERS)
def test_value_and_gradient_are_those_of_the_plain_form(name, shape):
    f = rows(*shape)
    found, expected = REGULARISERS[name](f), plain(name, f)
    close(found, expected)
    close(torch.autograd.grad(found, f), torch.autograd.grad(expected, f))


def test_m_mae_contains_u_mae_to_second_order():
    """-log det(I + mu/d F^T F) = -mu m/d + (mu m/d)^2 / 2 * U-MAE's + third order; the rest falls with mu^3."""
    f = rows(12, 5)
    m, d = f.shape
    rest = []
    for mu in (1e-2, 1e-3):
        second_order = -mu * m / d + (mu * m / d) ** 2 / 2 * u_mae.regulariser(f)
        rest.append(abs(m_mae.regulariser(f, mu=mu) - second_order).item())
    assert rest[0] < (1e-2 * m / d) ** 3 and rest[1] == pytest.approx(rest[0] / 1000, rel=0.05)


@pytest.mark.parametrize(
    "m, d, mu, collapsed, spread",
    [(1024, 768, 1.0, -0.847, -1.331), (1024, 1024, 3.0, -1.386, -2.991)],
    ids=["ViT-B", "ViT-L"],
)
def test_range_at_the_released_sizes(m, d, mu, collapsed, spread):
    """From all rows equal to F^T F = m/d I; independent evidence: -log(1 + mu m/d), and nearly -d log(1 + mu m/d^2)."""
    one = torch.ones(m, d, dtype=torch.float64)
    assert m_mae.regulariser(one, mu=mu).item() == pytest.approx(collapsed, abs=5e-4)
    assert u_mae.regulariser(one).item() == pytest.approx(1)
    random = torch.randn(m, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert m_mae.regulariser(random, mu=mu).item() == pytest.approx(spread, abs=5e-3)
    assert spread >= -d * math.log1p(mu * m / d**2) - 1e-3


def test_the_smaller_gram_matrix_is_the_one_that_is_made(monkeypatch):
    made = []
    cholesky = torch.linalg.cholesky_ex
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda A: (made.append(len(A)), cholesky(A))[1])
    for m, d in SHAPES.values():
        m_mae.regulariser(rows(m, d), mu=1.0)
    assert made == [5, 6, 4]


def gathered(f: torch.Tensor):
    """Each rank has a share of the rows; what DDP's mean over ranks makes of the gradients."""
    world, share = distributed.world_size(), len(f) // distributed.world_size()
    mine = f[distributed.rank() * share :][:share].clone().requires_grad_()
    values, gradients = [], []
    for regulariser in REGULARISERS.values():
        value = regulariser(distributed.gather(mine))
        values.append(value.item())
        gradients.append(torch.autograd.grad(value, mine)[0] / world)
    return values, gradients


def test_two_ranks_get_value_and_gradient_of_one(ranks):
    f = rows(12, 5).detach().float()
    values, gradients = gathered(f)
    for rank, (found, shares) in enumerate(ranks(2, gathered, f)):
        assert found == pytest.approx(values, rel=1e-6)
        for share, whole in zip(shares, gradients, strict=True):
            torch.testing.assert_close(share, whole[6 * rank :][:6], rtol=1e-6, atol=1e-6)
