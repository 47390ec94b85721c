"""Unit rows, centred: the written-out derivative is the one of the plain formula."""

import torch
import torch.nn.functional as F

from pretrain.losses.unit_rows import centred_unit_rows


def features() -> torch.Tensor:
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return rows * torch.tensor([1e-3, 0.1, 1, 2, 10, 1e3], dtype=torch.float64)[:, None]


def test_values_are_those_of_normalise_then_centre():
    unit = F.normalize(features(), dim=1)
    torch.testing.assert_close(centred_unit_rows(features()), unit - unit.mean(0))


def test_the_derivative_is_that_of_the_values():
    assert torch.autograd.gradcheck(centred_unit_rows, features()[1:5].requires_grad_())


def test_a_row_of_zeros_gives_finite_values_and_gradients():
    rows = features()
    rows[2] = 0
    rows.requires_grad_()
    out = centred_unit_rows(rows)
    out.square().sum().backward()
    assert torch.isfinite(out).all() and torch.isfinite(rows.grad).all()
