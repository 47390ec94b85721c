"""Several processes go through one list: each takes a share of equal length, and the parts are put back in order."""

import math

from torch import Tensor

from runtime import distributed


def mine(count: int) -> list[int]:
    """This rank's indices of 0 .. count - 1. Where the ranks do not divide ``count`` the last index is repeated, so
    that every rank has as many and meets the others in every collective."""
    each = math.ceil(count / distributed.world_size())
    return [min(index, count - 1) for index in range(distributed.rank() * each, (distributed.rank() + 1) * each)]


def whole(rows: Tensor, count: int) -> Tensor:
    """The rows (share, ...) that each rank made of its indices -> the rows (count, ...) of all, on every rank."""
    return distributed.gather(rows)[:count]
