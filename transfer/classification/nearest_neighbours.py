"""Weighted k-nearest-neighbour classification (Wu et al., arXiv 1805.01978, section 3.4): exact, in bounded memory.

Letters: n training rows, m rows to classify, D features, K classes. Rows have unit length, so a product is a cosine.
"""

import torch
from torch import Tensor

ROWS, BANK = 256, 65536
"""Rows classified at once and training rows compared at once: 64 MiB of similarities."""


def nearest(rows_mD: Tensor, bank_nD: Tensor, k: int, *, chunk: int = BANK) -> tuple[Tensor, Tensor]:
    """The ``k`` largest cosines of every row with the bank, largest first, and where they stand: (m, k) each.

    The bank is gone through in chunks. The k best of all are among the k best so far and the k best of the next chunk.
    """
    best = bank_nD.new_empty(len(rows_mD), 0)
    places = torch.empty(len(rows_mD), 0, dtype=torch.long, device=bank_nD.device)
    for start in range(0, len(bank_nD), chunk):
        part = rows_mD @ bank_nD[start : start + chunk].T
        values, at = part.topk(min(k, part.shape[1]), dim=1)
        best, places = torch.cat([best, values], 1), torch.cat([places, at + start], 1)
        best, kept = best.topk(min(k, best.shape[1]), dim=1)
        places = places.gather(1, kept)
    return best, places


def votes(cosines_mk: Tensor, labels_mk: Tensor, *, classes: int, temperature: float) -> Tensor:
    """(m, K): each class's sum of exp(cosine / T) over the neighbours that belong to it.

    The nearest neighbour's weight is taken as 1, which changes no order and keeps small temperatures finite.
    """
    weights_mk = ((cosines_mk - cosines_mk[:, :1]) / temperature).exp()
    return weights_mk.new_zeros(len(cosines_mk), classes).scatter_add_(1, labels_mk, weights_mk)


def scores(
    rows_mD: Tensor, bank_nD: Tensor, bank_labels_n: Tensor, *, classes: int, voting: list[tuple[int, float]]
) -> list[Tensor]:
    """The votes (m, K) of every rule (k, T) in ``voting``, from one search for the most neighbours among them."""
    most, found = max(k for k, _ in voting), [[] for _ in voting]
    for chunk in rows_mD.split(ROWS):
        cosines, places = nearest(chunk, bank_nD, most)
        labels = bank_labels_n[places]
        for kept, (k, temperature) in zip(found, voting, strict=True):
            kept.append(votes(cosines[:, :k], labels[:, :k], classes=classes, temperature=temperature))
    return [torch.cat(kept) for kept in found]
