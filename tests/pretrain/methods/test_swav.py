import math

import pytest
import torch
import torch.nn.functional as F

from pretrain.backbones import resnet
from pretrain.methods import Embeddings, swav


def unit_rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=-1)


def build(**changes) -> swav.Method:
    torch.manual_seed(0)
    small = {"prototypes": 6, "projector_width": 16, "output_width": 4}
    return swav.Method(resnet.resnet(), swav.Config(**small | changes))


def test_codes_use_all_prototypes_equally_and_share_each_sample_out():
    """Eq. 3: the transport polytope, rows 1 / B and columns 1 / K; here with rows of 1."""
    codes = swav.sinkhorn_codes(unit_rows(12, 4) @ unit_rows(6, 4, seed=1).T, epsilon=0.5, iterations=200)
    assert torch.allclose(codes.sum(1), torch.ones(12, dtype=torch.float64))
    assert torch.allclose(codes.sum(0), torch.full((6,), 2.0, dtype=torch.float64))


def test_codes_do_not_change_when_a_prototype_gains_the_same_score_for_every_sample():
    """Adding a constant to a column is undone by the scaling of prototypes."""
    scores = unit_rows(8, 4) @ unit_rows(6, 4, seed=1).T
    shifted = scores + torch.tensor([0.3, 0, 0, -0.2, 0, 0], dtype=torch.float64)
    one, two = (swav.sinkhorn_codes(s, epsilon=0.05, iterations=3) for s in (scores, shifted))
    assert torch.allclose(one, two)


def test_loss_is_the_formula_written_out():
    """Eq. 1 and 2 for two large and one small view, sample by sample, with codes from Cuturi's alternating scalings."""
    B, K, T, eps = 5, 3, 0.1, 0.05
    scores = [(unit_rows(B, 4, seed=s) @ unit_rows(K, 4, seed=9).T).tolist() for s in range(3)]

    def codes(view):
        q = [[math.exp(view[n][k] / eps) for k in range(K)] for n in range(B)]
        for _ in range(3):
            column = [sum(q[n][k] for n in range(B)) for k in range(K)]
            q = [[q[n][k] / column[k] / K for k in range(K)] for n in range(B)]
            q = [[value / sum(row) / B for value in row] for row in q]
        return [[value * B for value in row] for row in q]

    def cross_entropy(q, view):
        total = 0.0
        for n in range(B):
            log_sum = math.log(sum(math.exp(view[n][k] / T) for k in range(K)))
            total -= sum(q[n][k] * (view[n][k] / T - log_sum) for k in range(K))
        return total / B

    q0, q1 = codes(scores[0]), codes(scores[1])
    expected = (cross_entropy(q0, scores[1]) + cross_entropy(q0, scores[2])) / 2
    expected = (expected + (cross_entropy(q1, scores[0]) + cross_entropy(q1, scores[2])) / 2) / 2
    tensors = [torch.tensor(view, dtype=torch.float64) for view in scores]
    found = [swav.sinkhorn_codes(view, epsilon=eps, iterations=3) for view in tensors[:2]]
    assert swav.swapped_prediction(tensors, found, temperature=T).item() == pytest.approx(expected, rel=1e-12)


def test_order_of_samples_and_of_the_two_views_does_not_matter():
    network = build().double()
    z = unit_rows(3, 8, 4)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    loss = network.loss_terms(Embeddings(tuple(z), ()))["swapped_prediction"].item()
    for other in (z[:, order], z[[1, 0, 2]]):
        assert network.loss_terms(Embeddings(tuple(other), ()))["swapped_prediction"].item() == pytest.approx(loss)


def test_small_views_take_part():
    network = build()
    views = [torch.randn(4, 3, size, size) for size in (48, 48, 32, 32, 32)]
    embeddings = network(views)
    assert len(embeddings.online) == 5
    network.loss_terms(embeddings)["swapped_prediction"].backward()
    assert network.backbone.conv1.weight.grad.abs().sum() > 0
    with_small = network.loss_terms(embeddings)["swapped_prediction"]
    assert with_small != network.loss_terms(Embeddings(embeddings.online[:2], ()))["swapped_prediction"]


def step(network: swav.Method, z: torch.Tensor, *, progress: float, lr: float = 0.5) -> None:
    network.zero_grad()
    network.loss_terms(Embeddings(tuple(z.float()), ()))["swapped_prediction"].backward()
    with torch.no_grad():
        network.prototypes -= lr * network.prototypes.grad
    network.after_step(progress)


def test_prototypes_rest_at_first_and_always_have_unit_length():
    network = build(freeze_share=0.1)
    start = network.prototypes.detach().clone()
    step(network, unit_rows(2, 8, 4), progress=0.05)
    assert torch.allclose(network.prototypes, start)
    step(network, unit_rows(2, 8, 4), progress=0.15)
    assert torch.allclose(network.prototypes, start)
    step(network, unit_rows(2, 8, 4), progress=0.2)
    assert not torch.allclose(network.prototypes, start)
    assert torch.allclose(network.prototypes.norm(dim=1), torch.ones(6))


def test_queue_fills_from_its_time_on_takes_part_once_full_and_drops_the_oldest():
    network, plain = build(queue_size=8, queue_from=0.3), build(queue_size=0)
    batches = [unit_rows(2, 4, 4, seed=s) for s in range(8)]
    now = Embeddings(tuple(batches[7].float()), ())
    unused = plain.loss_terms(now)["swapped_prediction"].item()
    for number, z in enumerate(batches[:5]):  # they begin at 0, 0.1, ... 0.4: the last two are queued
        assert network.loss_terms(now)["swapped_prediction"].item() == pytest.approx(unused)
        step(network, z, progress=0.1 * (number + 1) + 1e-6, lr=0.0)
    assert torch.allclose(network.queue, torch.cat([batches[3], batches[4]], dim=1).float())
    assert network.loss_terms(now)["swapped_prediction"].item() != pytest.approx(unused)
    step(network, batches[5], progress=0.6, lr=0.0)
    expected = torch.cat([batches[5], batches[4]], dim=1)  # it stands where the oldest stood
    assert torch.allclose(network.queue, expected.float())
