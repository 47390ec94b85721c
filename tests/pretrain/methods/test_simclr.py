from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pretrain.config import resolve
from pretrain.methods import Embeddings, simclr
from runtime.command_line import UserError


class Trunk(nn.Identity):
    """A trunk of which only the width is asked."""

    width = 8


# lightly 1.6.0 in float64, values and gradients
LIGHTLY = np.load(Path(__file__).parents[1] / "losses/lightly_losses.npz")


def views(B: int = 6, D: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two views that agree in part."""
    common, one, two = torch.randn(3, B, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return common + one, common + two


@pytest.mark.parametrize("shape", ["tall", "wide"])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_is_twice_the_mean_over_anchors_that_lightly_takes(shape, temperature):
    z1, z2 = (torch.from_numpy(LIGHTLY[f"{shape}_{name}"]).requires_grad_() for name in ("z1", "z2"))
    loss = simclr.nt_xent(z1, z2, temperature=temperature)
    loss.backward()
    name = f"{shape}_nt_xent_t{temperature}"
    assert loss.item() == pytest.approx(2 * LIGHTLY[name], abs=1e-9)
    for z, key in ((z1, "dz1"), (z2, "dz2")):
        torch.testing.assert_close(z.grad, torch.from_numpy(2 * LIGHTLY[f"{name}_{key}"]), rtol=0, atol=1e-9)


def test_eq1_and_algorithm_1_written_as_loops():
    """l(i, j) for every positive pair in both orders, over 2B: half of what the released code adds up."""
    z1, z2 = views()
    z = F.normalize(torch.stack([z1, z2], 1).flatten(0, 1), dim=1)  # 2k and 2k + 1 are the views of image k
    s = (z @ z.T / 0.3).exp()
    losses = [-torch.log(s[i, i ^ 1] / (s[i].sum() - s[i, i])) for i in range(len(z))]
    assert torch.isclose(simclr.nt_xent(z1, z2, temperature=0.3), 2 * sum(losses) / len(z))


def test_neither_the_order_of_images_nor_of_views_nor_any_length_matters():
    z1, z2 = views()
    loss = simclr.nt_xent(z1, z2, temperature=0.1)
    order, lengths = torch.tensor([3, 1, 5, 0, 2, 4]), torch.arange(1.0, 7.0).double()[:, None]
    for other in ((z1[order], z2[order]), (z2, z1), (z1 * lengths, z2 / lengths)):
        assert torch.isclose(simclr.nt_xent(*other, temperature=0.1), loss)


def test_collapse_leaves_chance_and_separation_leaves_nothing():
    """All alike: one of 2B - 1 others by chance. Opposed images, aligned views: the loss is near 0."""
    alike = torch.ones(4, 3)
    assert simclr.nt_xent(alike, alike, temperature=0.1).item() == pytest.approx(2 * np.log(7), rel=1e-6)
    apart = torch.eye(4)
    assert simclr.nt_xent(apart, apart, temperature=0.05).item() == pytest.approx(0, abs=1e-7)


def test_heads_of_the_paper_and_of_the_code():
    def parts(**settings):
        network = simclr.Method(Trunk(), simclr.Config(projector_width=16, output_width=8, **settings))
        return network.projector, [type(part).__name__ for part in network.projector]

    paper, names = parts()
    assert names == ["Linear", "ReLU", "Linear"] and paper[0].bias is not None
    code, names = parts(head="code", layers=3)
    assert names == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear", "BatchNorm1d"]
    assert all(layer.bias is None for layer in code if isinstance(layer, nn.Linear))
    assert code[-1].weight.requires_grad and not code[-1].bias.requires_grad and not code[-1].bias.any()
    with pytest.raises(UserError, match="method.head must be one of .*code"):
        resolve("simclr", "demo", ["method.head=v3"])


def test_both_views_learn():
    z1, z2 = (z.requires_grad_() for z in views())
    network = simclr.Method(Trunk(), simclr.Config(projector_width=8))
    network.loss_terms(Embeddings((z1, z2), ()))["contrastive"].backward()
    assert z1.grad.norm() > 0 and z2.grad.norm() > 0


def test_views_at_once_share_their_batch_statistics():
    """In the released code one pass has both views; batch norm in eval mode does not tell one pass from two."""
    images = [torch.randn(4, 8, generator=torch.Generator().manual_seed(i)) + i for i in range(2)]
    torch.manual_seed(0)
    network = simclr.Method(Trunk(), simclr.Config(projector_width=8, head="code", views_at_once=True))
    together = network(images).online
    joint = network.projector(network.backbone(torch.cat(images)))
    assert torch.equal(torch.cat(together), joint)
    network.at_once = False
    apart = network(images).online
    assert not torch.allclose(together[0], apart[0], atol=1e-3)
    network.eval()
    apart = network(images).online
    network.at_once = True
    torch.testing.assert_close(network(images).online, apart)
