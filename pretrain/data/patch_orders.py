"""Which patches of an image are masked, drawn from (seed, epoch, index) by a counter-based generator.

So the masks are the same on any number of ranks, in any process and after any number of restarts.
"""

import numpy as np
import torch
from torch import Tensor

MASKS = 1
"""The last word of the generator's counter, which for the draws of views is 0."""


def patch_orders(keys: Tensor, patches: int) -> Tensor:
    """Random orders (b, ``patches``) of the patches of images, each from a row of ``keys`` (b, 3): seed, epoch, index.

    The first ones in the order are seen, the others masked.
    """
    drawn = np.empty((len(keys), patches), dtype=np.uint64)
    for row, (seed, epoch, index) in enumerate(keys.tolist()):
        drawn[row] = np.random.Philox(key=[seed, epoch], counter=[0, index, 0, MASKS]).random_raw(patches)
    return torch.from_numpy(drawn.argsort(axis=1, kind="stable"))
