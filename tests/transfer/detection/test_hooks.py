"""Statistics for evaluation are averages over the same batches on every rank; chance follows the iteration."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from runtime.stopping import Stopped
from transfer.detection import hooks


class Detector(nn.Module):
    """A trunk with one norm, and a head that fails if anything runs it."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.BatchNorm2d(1)
        self.roi_heads = nn.Linear(1, 1)

    def preprocess_image(self, inputs):
        return SimpleNamespace(tensor=torch.stack([entry["image"] for entry in inputs]))

    def forward(self, inputs):
        raise AssertionError("the heads need not run")


def test_precise_statistics_are_the_mean_and_variance_of_the_batches_without_the_heads():
    torch.manual_seed(0)
    images = torch.randn(6, 2, 1, 8, 8) * 3 + 5
    model = Detector()
    batches = [[{"image": image} for image in batch] for batch in images]
    hook = hooks.PreciseBN(lambda: iter(batches), iterations=6, period=0)
    hook.estimate(model)
    assert torch.allclose(model.backbone.running_mean, images.mean().reshape(1), atol=1e-5)
    assert torch.allclose(model.backbone.running_var, images.var(correction=0).reshape(1), rtol=1e-3)
    first = model.backbone.running_mean.clone()
    hook.estimate(model)
    assert torch.equal(model.backbone.running_mean, first)


def _statistics_of_unequal_ranks():
    import torch

    from runtime import distributed
    from transfer.detection import hooks

    torch.manual_seed(distributed.rank())
    model = _detector()
    batches = [[{"image": torch.randn(1, 8 + 8 * distributed.rank(), 8)}] for _ in range(3)]
    hooks.PreciseBN(lambda: iter(batches), iterations=3, period=0).estimate(model)
    return model.backbone.running_mean.tolist(), model.backbone.running_var.tolist()


def _detector():
    return Detector()


def test_all_ranks_get_the_statistics_of_the_first(ranks):
    first, second = ranks(2, _statistics_of_unequal_ranks)
    assert first == second


def test_a_signal_during_an_evaluation_saves():
    def evaluate():
        raise Stopped(75)

    saved = []
    hook = hooks.Evaluate(evaluate, period=5)
    checkpointer = SimpleNamespace(save=lambda name, **more: saved.append((name, more)))
    hook.trainer = SimpleNamespace(iter=4, max_iter=10, checkpointer=checkpointer)
    with pytest.raises(Stopped):
        hook.after_step()
    assert saved == [("model_0000004", {"iteration": 4})]


def test_chance_is_a_function_of_seed_and_iteration():
    def draw(seed, iteration):
        hook = hooks.SeedIteration(seed)
        hook.trainer = SimpleNamespace(iter=iteration)
        hook.before_step()
        return torch.rand(3).tolist()

    assert draw(0, 5) == draw(0, 5)
    assert len({tuple(draw(seed, iteration)) for seed in (0, 1) for iteration in (0, 1, 2)}) == 6
