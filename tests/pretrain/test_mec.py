from pathlib import Path

import numpy as np
import pytest
import torch

from pretrain import backbone
from pretrain.methods import Embeddings, mec, simsiam

REFERENCE = np.load(Path(__file__).parent / "losses.npz")


def rows(shape: str, name: str) -> torch.Tensor:
    return torch.from_numpy(REFERENCE[f"{shape}_{name}"])


@pytest.mark.parametrize("key", [key for key in REFERENCE if "mec_taylor4" in key])
def test_equals_the_released_objective(key):
    """The reference is the mean of both directions over B, before the factor lambda_inv and the sign."""
    shape, lambda_inv = key.split("_mec_taylor4_laminv")
    z1, z2, p1, p2 = (rows(shape, name) for name in ("z1", "z2", "p1", "p2"))
    one, two = (mec.coding_loss(z, p, lambda_inv=float(lambda_inv)) for z, p in ((z1, p2), (z2, p1)))
    assert (one + two).item() / 2 == pytest.approx(-float(lambda_inv) * REFERENCE[key], abs=1e-9)


def test_first_order_is_simsiam():
    """Order 1 of the series leaves -tr(P Z^T) / B: minus the mean cosine, whatever lambda_inv is."""
    online, target = rows("tall", "z1"), rows("tall", "p2")
    for lambda_inv in (1.0, 32.0):
        first = mec.coding_loss(online, target, lambda_inv=lambda_inv, order=1)
        assert torch.isclose(first, simsiam.negative_cosine(online, target), atol=1e-12)


def test_converges_to_the_log_determinant():
    online, target = rows("tall", "z1"), rows("tall", "p2")
    unit = [torch.nn.functional.normalize(z, dim=1) for z in (online, target)]
    exact = -64.0 / len(online) * torch.linalg.slogdet(torch.eye(len(online)).double() + unit[0] @ unit[1].T / 64)[1]
    errors = [abs(mec.coding_loss(online, target, lambda_inv=64.0, order=n) - exact).item() for n in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-9


def test_lambda_inv_is_the_released_one_and_comes_down_in_the_warm_up():
    network = mec.Method(backbone.resnet50(), mec.Config(projector_width=2048, predictor_width=4))
    assert network.lambda_inv(1024) == 256  # 8 x 32 at the start
    network.after_step(0.05)
    assert network.lambda_inv(1024) == pytest.approx(144)  # half way
    network.after_step(0.1)
    assert network.lambda_inv(1024) == pytest.approx(32)
    network.after_step(1.0)
    assert network.lambda_inv(1024) == 32
    assert "progress" in network.state_dict()  # a resumed run goes on where it was


def test_gradients_reach_the_online_branch_only():
    network = mec.Method(backbone.resnet50(), mec.Config(projector_width=8, predictor_width=4))
    p, z = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    z.requires_grad_()
    network.loss_terms(Embeddings((p.requires_grad_(), p), (z, z)))["coding_length"].backward()
    assert p.grad is not None and z.grad is None
