"""The Matrix-SSL loss against values computed with the authors' release, and against its definition."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain.methods import matrix_ssl

REFERENCE = np.load(Path(__file__).with_name("losses.npz"))


def reference(name: str) -> torch.Tensor:
    return torch.from_numpy(REFERENCE[name])


def symmetric_released(shape: str, **settings):
    z1, z2 = (reference(f"{shape}_z{i}").requires_grad_() for i in (1, 2))
    p1, p2 = (reference(f"{shape}_p{i}") for i in (1, 2))
    one = matrix_ssl.released_terms(z1, p2, **settings)
    two = matrix_ssl.released_terms(z2, p1, **settings)
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
        torch.testing.assert_close(value, reference(key), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_released_loss_with_its_default_flags_of_one_half(shape):
    loss, _, _ = symmetric_released(shape, ridge=0.5, target_scale=0.5)
    torch.testing.assert_close(loss, reference(f"{shape}_matrix_ssl_half"), rtol=1e-9, atol=1e-9)
