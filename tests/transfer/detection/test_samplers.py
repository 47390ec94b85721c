"""The order of images is a function of (seed, iteration): no state, no surprise after an interruption."""

from itertools import islice

import numpy as np
import pytest

from transfer.detection import images, samplers


def batches(count, **changes):
    settings = {"shapes": [0] * 10, "batch": 4, "seed": 0} | changes
    return list(islice(samplers.TrainingBatches(settings.pop("shapes"), settings.pop("batch"), **settings), count))


def test_starting_late_gives_the_rest_of_the_same_order():
    assert batches(5, start=7) == batches(12)[7:]


def test_each_epoch_shows_every_image_once():
    seen = [index for batch in batches(5) for index, _ in batch]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]


@pytest.mark.parametrize("shapes", [[0] * 10, [0, 1, 1, 0, 1, 1, 0, 1, 1, 1]])
def test_an_iteration_has_the_same_images_and_the_same_chance_for_any_number_of_ranks(shapes):
    alone = batches(9, shapes=shapes, batch=4)
    for world_size in (2, 4):
        asked = {"shapes": shapes, "batch": 4 // world_size, "world_size": world_size}
        shares = [batches(6, rank=rank, start=3, **asked) for rank in range(world_size)]
        assert [[pair for share in shares for pair in share[k]] for k in range(6)] == alone[3:]


def test_a_batch_holds_images_of_one_shape_and_none_is_lost():
    shapes = [0, 1, 1, 0, 1, 1, 0, 1, 1, 1]
    found = batches(30, shapes=shapes, batch=3)
    assert all(len({shapes[index] for index, _ in batch}) == 1 for batch in found)
    counts = np.bincount([index for batch in found for index, _ in batch], minlength=10)
    assert counts.min() >= 7  # 90 images drawn in 9 epochs of 10; a bucket may hold back two


def test_seeds_differ():
    assert batches(3) != batches(3, seed=1)


def test_chance_depends_on_the_place_in_the_order_and_on_no_worker():
    records = [{"width": 1, "height": 1}] * 10

    def draw(workers):
        source = samplers.TrainingBatches([0] * 10, 4, seed=0)
        return list(islice(images.loader(records, lambda record: {"drawn": np.random.rand()}, source, workers), 6))

    alone = draw(0)
    assert draw(2) == alone
    assert len({entry["drawn"] for batch in alone for entry in batch}) == 24


def test_grouping_sorts_landscape_from_portrait():
    records = [{"width": 4, "height": 3}, {"width": 3, "height": 4}, {"width": 4, "height": 4}]
    assert samplers.shape_buckets(records, grouped=True) == [1, 0, 0]
    assert samplers.shape_buckets(records, grouped=False) == [0, 0, 0]


def test_rare_categories_are_repeated_as_often_as_lvis_says_and_the_order_still_resumes():
    common = {"annotations": [{"category_id": 0}]}
    rare = {"annotations": [{"category_id": 0}, {"category_id": 1}]}
    records = [common] * 9 + [rare]
    factors = samplers.repeat_factors(records, sampler="RepeatFactorTrainingSampler", threshold=0.4)
    assert factors == pytest.approx([1.0] * 9 + [2.0])  # sqrt(0.4 / 0.1)
    found = batches(22, batch=1, repeats=factors)
    assert sorted(index for batch in found[:11] for index, _ in batch) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert batches(5, batch=1, repeats=factors, start=17) == found[17:]
    assert samplers.repeat_factors(records, sampler="TrainingSampler", threshold=0.4) is None


def test_a_fractional_repeat_is_rounded_by_chance_anew_in_each_epoch():
    drawn = batches(3000, shapes=[0] * 2, batch=1, repeats=[1.0, 1.5])
    share = np.mean([index for batch in drawn for index, _ in batch])
    assert share == pytest.approx(1.5 / 2.5, abs=0.02)
