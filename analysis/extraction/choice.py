"""Which images of each class are looked at."""

import numpy as np


def choose(labels: list[int], per_class: int, seed: int) -> list[int]:
    """The indices of at most ``per_class`` images of each class, drawn by ``seed``, in their old order."""
    order = np.random.default_rng(seed).permutation(len(labels))
    members_of: dict[int, list[int]] = {}
    for index in order.tolist():
        members = members_of.setdefault(labels[index], [])
        if len(members) < per_class:
            members.append(index)
    return sorted(index for members in members_of.values() for index in members)
