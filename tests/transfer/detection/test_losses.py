"""Losses are gathered now and then: the record is that of gathering each time, and a lost one ends the run at once."""

import pytest
import torch
from detectron2.utils.events import EventStorage

from transfer.detection.losses import Losses


def history(*, period: int) -> dict[str, list]:
    """What Detectron2's storage holds after six iterations of two losses."""
    losses = Losses(lambda iteration: (iteration + 1) % period == 0)
    with EventStorage() as storage:
        for iteration in range(6):
            losses.add(iteration, {"a": torch.tensor(iteration / 7), "b": torch.tensor(2.0)}, 0.1 * iteration)
            storage.step()
        return {name: values.values() for name, values in storage.histories().items()}


def test_the_storage_says_the_same_whatever_the_period():
    every = history(period=1)
    assert history(period=3) == every
    assert [iteration for _, iteration in every["total_loss"]] == list(range(6))
    assert every["a"][5][0] == pytest.approx(5 / 7) and every["data_time"][5][0] == 0.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_before_it_is_gathered(value):
    losses = Losses(lambda iteration: False)
    losses.add(0, {"a": torch.tensor(1.0)}, 0.0)
    assert losses.latest == 1.0
    with pytest.raises(FloatingPointError, match="infinite or NaN at iteration=1"):
        losses.add(1, {"a": torch.tensor(value)}, 0.0)


def test_a_loss_still_on_its_way_from_the_gpu_is_not_waited_for_but_found_before_the_next_gathering():
    class OnItsWay:
        def query(self):
            return False

        def synchronize(self):
            pass

    from transfer.detection.losses import Entry

    losses = Losses(lambda iteration: False)
    losses.waiting.append(Entry(0, 0.0, ("a",), torch.tensor([float("nan")]), OnItsWay()))
    losses._look()
    with pytest.raises(FloatingPointError, match="iteration=0"), EventStorage():
        losses.gather()


def _means_of_two_ranks():
    import torch
    from detectron2.utils.events import EventStorage

    from runtime import distributed
    from transfer.detection.losses import Losses

    losses = Losses(lambda iteration: iteration == 1)
    with EventStorage() as storage:
        for iteration in range(2):
            losses.add(iteration, {"a": torch.tensor(float(distributed.rank() + iteration))}, distributed.rank())
        return {name: [value for value, _ in values.values()] for name, values in storage.histories().items()}


def test_the_means_are_over_ranks_and_the_wait_is_the_longest(ranks):
    first, second = ranks(2, _means_of_two_ranks)
    assert first["total_loss"] == [0.5, 1.5] and first["data_time"] == [1.0, 1.0] and second == {}
