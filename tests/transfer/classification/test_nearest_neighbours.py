import math

import pytest
import torch
import torch.nn.functional as F

from transfer.classification import accuracy, nearest_neighbours


def unit(*degrees: float) -> torch.Tensor:
    angle = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_the_nearest_wins_alone_and_the_many_win_together():
    """Training points at 0 degrees (class 0) and at 50, 55, 60 (class 1); the question lies at 20 degrees."""
    bank, labels, question = unit(0, 50, 55, 60), torch.tensor([0, 1, 1, 1]), unit(20)
    voting = [(1, 1.0), (4, 1.0), (4, 0.01)]  # the last is cold: exp(cos / T) leaves only the nearest
    found = nearest_neighbours.scores(question, bank, labels, classes=2, voting=voting)
    assert [votes.argmax().item() for votes in found] == [0, 1, 0]


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(0)
    rows, bank = (F.normalize(torch.randn(n, 16, generator=generator, dtype=torch.float64), dim=1) for n in (600, 500))
    return rows, bank, torch.randint(7, (500,), generator=generator)


@pytest.mark.parametrize("chunk", [3, 70, 499, 500, 1000])
def test_chunks_find_what_the_whole_product_finds(drawn, chunk):
    rows, bank, _ = drawn
    cosines, places = nearest_neighbours.nearest(rows, bank, 20, chunk=chunk)
    expected = (rows @ bank.T).topk(20, dim=1)
    assert torch.equal(places, expected.indices) and torch.allclose(cosines, expected.values, atol=1e-12)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (200, 0.1), (500, 0.1)])
def test_votes_equal_a_plain_full_computation(drawn, k, temperature):
    """Every image by itself, every weight exp(cos / T), no search structure: the same class and the same shares."""
    rows, bank, labels = drawn
    [found] = nearest_neighbours.scores(rows, bank, labels, classes=7, voting=[(k, temperature)])
    for row, votes in zip(rows[::7], found[::7], strict=True):
        cosines = bank @ row
        kept = cosines.argsort(descending=True)[:k]
        plain = torch.stack([(cosines[kept] / temperature).exp()[labels[kept] == c].sum() for c in range(7)])
        assert torch.allclose(plain / plain.sum(), votes / votes.sum(), atol=1e-12)


def test_a_cold_vote_stays_finite():
    """exp(1 / 0.001) is infinite in float32, and so would be the votes of both classes."""
    bank, labels = unit(0, 10), torch.tensor([1, 0])
    [votes] = nearest_neighbours.scores(unit(1), bank, labels, classes=2, voting=[(2, 0.001)])
    assert torch.isfinite(votes).all() and votes.argmax() == 1


def test_places_of_the_true_class():
    scores = torch.tensor([[6.0, 5, 4, 3, 2, 1, 0]]).repeat(3, 1)
    assert accuracy.places(scores, torch.tensor([0, 4, 6])).tolist() == [0, 4, accuracy.TOP]


def test_top5_needs_more_than_five_classes():
    """Of three classes every one is among the first five: 100 percent that say nothing are not a figure."""
    found = accuracy.places(torch.eye(3), torch.tensor([0, 1, 0]))
    assert accuracy.percent(found, count=3, classes=3) == {"top1": pytest.approx(200 / 3)}
    assert accuracy.percent(found, count=3, classes=6) == {"top1": pytest.approx(200 / 3), "top5": 100.0}
