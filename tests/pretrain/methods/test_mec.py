import contextlib
import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pretrain.backbones import resnet
from pretrain.losses import matrix_information as mi
from pretrain.losses.shared_matmul import shared_matmul
from pretrain.methods import Embeddings, mec, simsiam
from runtime import distributed

REFERENCE = np.load(Path(__file__).parents[1] / "losses/losses.npz")
SHAPES = {"wide": (12, 40), "square": (16, 16), "tall": (48, 15)}  # (B, D): batch-wise, then feature-wise twice
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def rows(shape: str, name: str) -> torch.Tensor:
    return torch.from_numpy(REFERENCE[f"{shape}_{name}"])


@pytest.mark.parametrize("key", [key for key in REFERENCE if "mec_taylor4" in key])
def test_equals_the_released_objective(key):
    """The reference is the mean of both directions over B, before the factor lambda_inv and the sign."""
    shape, lambda_inv = key.split("_mec_taylor4_laminv")
    z1, z2, p1, p2 = (rows(shape, name) for name in ("z1", "z2", "p1", "p2"))
    one, two = (mec.coding_loss(z, p, lambda_inv=float(lambda_inv)) for z, p in ((z1, p2), (z2, p1)))
    assert (one + two).item() / 2 == pytest.approx(-float(lambda_inv) * REFERENCE[key], abs=1e-9)


def branches(B: int, D: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs of an online and a target branch that agree in part."""
    common, one, two = torch.randn(3, B, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (common + one).requires_grad_(), common + two


def value_and_gradient(loss, online: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    value = loss(online, target)
    return value.detach(), torch.autograd.grad(value, online)[0]


@every_shape
@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 8])
def test_either_form_is_the_series_of_matrix_powers_over_the_batch(shape, order):
    def plain(online, target):
        products = F.normalize(online, dim=1) @ F.normalize(target, dim=1).T / 8
        return -8 / len(online) * mi.matrix_log_taylor(torch.eye(len(online)).double() + products, order).trace()

    fast = partial(mec.coding_loss, lambda_inv=8.0, order=order)
    close(value_and_gradient(fast, *branches(*shape)), value_and_gradient(plain, *branches(*shape)))


@every_shape
def test_products_are_taken_in_the_smaller_space(shape):
    made = []

    def watched(A, B):
        made.append((A @ B).shape)
        return A @ B

    mec.coding_loss(*branches(*shape), lambda_inv=8.0, matmul=watched)
    assert set(made) == {(min(shape), min(shape))} and len(made) == 3  # the last one serves the gradient


def shared_share(online: torch.Tensor, target: torch.Tensor):
    """On one rank: gather the rows, the loss with shared products, the gradient of this rank's rows."""
    B, world, rank = len(online), distributed.world_size(), distributed.rank()
    local = online[rank * B // world : (rank + 1) * B // world].detach().clone().requires_grad_()
    value = mec.coding_loss(distributed.gather(local), target, lambda_inv=8.0, matmul=shared_matmul)
    value.backward()
    return value.detach(), local.grad / world  # DDP's mean over ranks


@every_shape
@pytest.mark.parametrize("world", [2, 4])
def test_ranks_that_share_the_products_get_the_result_of_one(ranks, world, shape):
    online, target = branches(*shape)
    want, gradient = value_and_gradient(partial(mec.coding_loss, lambda_inv=8.0), online, target)
    results = ranks(world, shared_share, online.detach(), target)
    for value, _ in results:
        close(value, want)
    close(torch.cat([share for _, share in results]), gradient)


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
    network = mec.Method(resnet.resnet(), mec.Config(projector_width=2048, predictor_width=4))
    assert network.lambda_inv(1024) == 256  # 8 x 32 at the start
    network.after_step(0.05)
    assert network.lambda_inv(1024) == pytest.approx(144)  # half way
    network.after_step(0.1)
    assert network.lambda_inv(1024) == pytest.approx(32)
    network.after_step(1.0)
    assert network.lambda_inv(1024) == 32
    assert "progress" in network.state_dict()  # a resumed run goes on where it was


def test_gradients_reach_the_online_branch_only():
    network = mec.Method(resnet.resnet(), mec.Config(projector_width=8, predictor_width=4))
    p, z = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    z.requires_grad_()
    network.loss_terms(Embeddings((p.requires_grad_(), p), (z, z)))["coding_length"].backward()
    assert p.grad is not None and z.grad is None


def alike(B: int, D: int) -> Embeddings:
    """One feature vector for all: the norm is at its bound, B / lambda_inv."""
    rows = torch.ones(B, D)
    return Embeddings((rows, rows), (rows, rows))


def spread(B: int, D: int) -> Embeddings:
    """A direction of its own for every image, the same in both views: the norm is 1 / lambda_inv."""
    rows = torch.eye(B, D)
    return Embeddings((rows, rows), (rows, rows))


def test_norm_of_the_series_is_the_bound_where_all_features_are_alike():
    for embeddings, norm in ((alike(16, 40), 16 / 5), (spread(16, 40), 1 / 5)):
        assert mec.series_norm(embeddings.online[0], embeddings.target[0], lambda_inv=5.0) == pytest.approx(norm)


def small(**changes) -> mec.Method:
    """lambda_inv is a quarter of the batch at the start and a 32nd after the warm-up, as the released code has it for
    2048 features."""
    settings = {"projector_width": 128, "predictor_width": 4, "distortion": 4.0} | changes
    trunk = torch.nn.Linear(1, 1)
    trunk.width = 1
    return mec.Method(trunk, mec.Config(**settings))


def test_a_series_that_may_not_converge_is_said_once(capsys):
    network = small()
    network.loss_terms(alike(16, 128))
    said = capsys.readouterr().err
    assert "on the first batch: |A - I| is 4.00" in said and "raise method.warmup_factor=8.0" in said
    assert said.count("\n") == 1
    network.after_step(0.5)
    network.loss_terms(alike(16, 128))
    small(warmup_factor=33.0).loss_terms(alike(16, 128))  # 32/33
    assert capsys.readouterr().err == ""


def test_a_series_that_leaves_its_radius_after_the_warm_up_is_said_then(capsys):
    """The first batch has the largest lambda_inv of all: that it converges says nothing of the rest."""
    network = small()
    network.loss_terms(spread(16, 128))
    network.after_step(0.005)
    network.loss_terms(alike(16, 128))  # half a hundredth later: not looked at
    assert capsys.readouterr().err == ""
    network.after_step(0.5)
    network.loss_terms(alike(16, 128))
    said = capsys.readouterr().err
    assert "after 50% of the training: |A - I| is 32.00" in said and "raise method.distortion=4.0" in said


def one_loss(network: mec.Method) -> str:
    """What a rank prints."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        network.loss_terms(alike(16, 128))
    return said.getvalue()


def test_the_first_rank_speaks_for_all(ranks):
    first, second = ranks(2, one_loss, small())
    assert "may not converge" in first and second == ""
