from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.methods import Embeddings, byol, simsiam

# lightly 1.6.0 in float64, values and gradients
LIGHTLY = np.load(Path(__file__).parents[1] / "losses/lightly_losses.npz")


def build(**settings) -> byol.Method:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Conv2d(3, 64, 5), nn.BatchNorm2d(64), nn.Flatten(), nn.Linear(64, 2048))
    trunk.width = 2048
    nn.init.zeros_(trunk[1].weight)  # as at the end of a residual branch
    return byol.Method(trunk, byol.Config(projector_width=16, predictor_width=16, output_width=8, **settings))


@pytest.mark.parametrize("shape", ["tall", "wide"])
def test_is_two_less_twice_the_cosine_of_lightly(shape):
    """lightly's NegativeCosineSimilarity, of which its BYOL is the sum over directions."""
    q, z = (torch.from_numpy(LIGHTLY[f"{shape}_{name}"]) for name in ("z1", "z2"))
    loss = byol.regression(q.requires_grad_(), z)
    loss.backward()
    assert loss.item() == pytest.approx(2 + 2 * LIGHTLY[f"{shape}_negative_cosine"], abs=1e-9)
    reference = torch.from_numpy(2 * LIGHTLY[f"{shape}_negative_cosine_dz1"])
    torch.testing.assert_close(q.grad, reference, rtol=0, atol=1e-9)


def test_eq2_is_the_squared_distance_of_unit_rows():
    q, z = torch.randn(2, 16, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    distance = q / q.norm(dim=1, keepdim=True) - z / z.norm(dim=1, keepdim=True)
    assert torch.isclose(byol.regression(q, z), distance.square().sum(1).mean())
    assert torch.isclose(byol.regression(q, z), 2 + 2 * simsiam.negative_cosine(q, z))


def test_both_directions_add_up_from_0_aligned_to_8_opposed():
    """q1 meets z2 and q2 meets z1; each direction lies between 0 and 4."""
    network = build()
    a, b = torch.tensor([[1.0, 0.0]] * 2), torch.tensor([[0.0, 2.0]] * 2)
    cases = [((a, b), (b, a), 0), ((a, b), (-b, -a), 8), ((a, b), (a, b), 4), ((a, a), (a, -a), 4)]
    for online, target, expected in cases:
        found = network.loss_terms(Embeddings(online, target))["regression"].item()
        assert found == pytest.approx(expected, abs=1e-6)


def test_the_teacher_starts_apart_with_weights_of_the_same_kind():
    network = build()
    student, teacher = network.backbone, network.teacher["backbone"]
    mine, theirs = student[0].weight.flatten(), teacher[0].weight.flatten()
    assert abs(torch.corrcoef(torch.stack([mine, theirs]))[0, 1]) < 0.05
    assert torch.equal(mine.sort().values, theirs.sort().values)
    assert not teacher[1].weight.any()  # what starts at zero does so in both
    network = build(separate_start=False)
    assert torch.equal(network.backbone[0].weight, network.teacher["backbone"][0].weight)


def test_the_teacher_follows_by_a_momentum_that_a_cosine_raises_to_one():
    network = build(teacher_momentum=0.9)
    for progress, momentum in ((0.0, 0.9), (0.5, 0.95), (1.0, 1.0)):
        pairs = [(network.backbone[0], network.teacher["backbone"][0])]
        pairs.append((network.projector[0], network.teacher["projector"][0]))
        expected = [momentum * teacher.weight + (1 - momentum) * student.weight.detach() for student, teacher in pairs]
        network.after_step(progress)
        for (_, teacher), weight in zip(pairs, expected, strict=True):
            assert torch.allclose(teacher.weight, weight, atol=1e-6)


def test_no_gradient_reaches_the_teacher():
    q, z = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    z.requires_grad_()
    network = build()
    network.loss_terms(Embeddings((q.requires_grad_(), q), (z, z)))["regression"].backward()
    assert q.grad is not None and z.grad is None
    assert not any(p.requires_grad for p in network.teacher.parameters())
