"""Top-1 and top-5 accuracy, in percent."""

import torch
from torch import Tensor

from runtime import distributed

TOP = 5


def places(scores_mK: Tensor, labels_m: Tensor) -> Tensor:
    """(m,): at which place the true class stands among the first five, 0 for the first; 5 where it is not there."""
    best = scores_mK.topk(min(TOP, scores_mK.shape[1]), dim=1).indices
    right = best == labels_m[:, None]
    return torch.where(right.any(1), right.int().argmax(1), TOP)


def percent(places_of_share: Tensor, *, count: int, classes: int) -> dict[str, float]:
    """``{"top1": ..., "top5": ...}`` over all ``count`` images, from the places that each rank found for its share.

    With five classes or fewer every answer is among the first five, so there is no top5.
    """
    found = distributed.gather_shards(places_of_share, count)
    tops = {"top1": 1} | ({"top5": TOP} if classes > TOP else {})
    return {name: 100 * (found < top).sum().item() / count for name, top in tops.items()}
