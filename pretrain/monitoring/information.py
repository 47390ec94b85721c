"""Matrix entropy, joint entropy and mutual information of embeddings, as they change over training (arXiv 2309.17281).

Its theorems say that Barlow Twins and spectral contrastive learning raise the mutual information and the joint entropy,
both of order 2, of the two views: the former of the features, (D, D), the latter of the samples, (B, B). Here both
sides are measured for every method. A masked auto-encoder has one view, for which that paper lets the entropy stand for
all three: it is that of the class tokens of the visible patches, which the regularisers of U-MAE and M-MAE see.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from pretrain.losses.matrix_information import (
    feature_gram,
    matrix_joint_entropy,
    matrix_mutual_information,
    matrix_renyi_entropy,
    sample_gram,
)

MOST = 512
"""Samples, and features, of a batch that are looked at: the first ones."""

SIDES = {"": sample_gram, "feature_": feature_gram}


@torch.no_grad()
def information(views: Sequence[Tensor], *, orders: Sequence[int] = (2,), most: int = MOST) -> dict[str, float]:
    """Entropies in nats of embeddings (B, D), one tensor per view, of which the first two count.

    Returns:
        For each order: ``matrix_entropy`` of the first view; with a second one ``joint_entropy`` and
        ``mutual_information``; and the same of the features with ``feature_`` before it. The order stands behind a
        name, ``matrix_entropy_2``, unless it is 1. At most log min(B, D), the joint entropy at most log B of the
        samples and log D of the features.
    """
    rows = [view[:most].double() for view in views[:2]]
    values = {}
    for side, gram in SIDES.items():
        matrices = [gram(view[:, :most] if side else view) for view in rows]
        for order in orders:
            found = {"matrix_entropy": matrix_renyi_entropy(matrices[0], order)}
            if len(matrices) == 2:
                found["joint_entropy"] = matrix_joint_entropy(matrices[0], matrices[1], order)
                found["mutual_information"] = matrix_mutual_information(matrices[0], matrices[1], order)
            ending = "" if order == 1 else f"_{order}"
            values |= {f"{side}{name}{ending}": value.item() for name, value in found.items()}
    return values
