"""The order of training images, and what chance does to each, as a function of (seed, iteration) alone.

Detectron2's own sampler starts afresh after an interruption. This one can start at any iteration, so that a run which
was killed and resumed sees the images, the flips and the sizes that a run never killed would have seen.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from detectron2.data.samplers import RepeatFactorTrainingSampler
from torch.utils.data import Sampler


class TrainingBatches(Sampler):
    """Endless batches of (image index, chance) pairs for one rank.

    All ranks walk through one stream: each epoch is a new permutation, its images gather in one bucket per shape until
    a bucket holds a batch for all ranks together. Each rank takes its share of it, so the images of an iteration, and
    what chance does to each, are the same for any number of ranks.

    Args:
        shapes: for each image the bucket it may share a batch with (landscape or portrait); equal for all: no grouping.
        batch: images in a batch of one rank.
        seed: of the whole stream.
        start: the first iteration to give out.
        repeats: how often each image occurs in an epoch; the fraction is rounded up by chance, anew in each epoch.
    """

    def __init__(
        self,
        shapes: list[int],
        batch: int,
        *,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        repeats: Sequence[float] | None = None,
    ):
        self.shapes, self.batch, self.seed, self.start = shapes, batch, seed, start
        self.rank, self.world_size = rank, world_size
        self.repeats = None if repeats is None else np.asarray(repeats, dtype=np.float64)

    def __iter__(self) -> Iterator[list[tuple[int, tuple[int, ...]]]]:
        mine = slice(self.rank * self.batch, (self.rank + 1) * self.batch)
        for iteration, batch in islice(enumerate(self._stream()), self.start, None):
            yield [(index, (self.seed, iteration, position)) for position, index in enumerate(batch)][mine]

    def _stream(self) -> Iterator[list[int]]:
        buckets: dict[int, list[int]] = {shape: [] for shape in self.shapes}
        epoch = 0
        while True:
            for index in self._epoch(epoch):
                bucket = buckets[self.shapes[index]]
                bucket.append(index)
                if len(bucket) == self.batch * self.world_size:
                    yield bucket.copy()
                    bucket.clear()
            epoch += 1

    def _epoch(self, epoch: int) -> list[int]:
        chance = np.random.default_rng([self.seed, epoch])
        if self.repeats is None:
            return chance.permutation(len(self.shapes)).tolist()
        whole = np.floor(self.repeats)
        times = whole + (chance.random(len(whole)) < self.repeats - whole)
        return chance.permutation(np.repeat(np.arange(len(whole)), times.astype(int))).tolist()


def shape_buckets(records: list[dict], *, grouped: bool) -> list[int]:
    """1 for a landscape image, 0 for another; all 0 without grouping."""
    return [int(grouped and record["width"] > record["height"]) for record in records]


def repeat_factors(records: list[dict], *, sampler: str, threshold: float) -> Sequence[float] | None:
    """How often each image occurs in an epoch: None is once, for a ``sampler`` that repeats none.

    Images whose rarest category stands in a share f of all images, f < ``threshold``, occur sqrt(threshold / f) times
    (LVIS, arXiv 1908.03195, appendix B.2).
    """
    if sampler == "TrainingSampler":
        return None
    return RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(records, threshold).tolist()
