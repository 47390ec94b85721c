"""Measures of a set of features: spectrum, spread over the sphere, neural collapse.

Letters: n images, d features, K classes; h (n, d) features, y (n,) class numbers. float64 is meant.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.class_ranks import per_class

FIRST, LAST = 11, 500


def rankme(h: Tensor, *, eps: float = 1e-7) -> Tensor:
    """exp H(p), p_k = sigma_k / sum sigma + eps, of the singular values of h, uncentred (RankMe, arXiv 2210.02885)."""
    gram = h @ h.T if len(h) <= h.shape[1] else h.T @ h
    eigenvalues = torch.linalg.eigvalsh(gram)
    rounding = max(h.shape) * torch.finfo(h.dtype).eps * eigenvalues[-1]
    sigma = torch.where(eigenvalues > rounding, eigenvalues, 0.0).sqrt()
    p = sigma / sigma.sum() + eps
    return torch.exp(-(p * p.log()).sum())


def alpha(eigenvalues: Tensor, *, first: int = FIRST, last: int = LAST) -> tuple[float, float, list[int]] | None:
    """The exponent of eigenvalue_i ~ i^-alpha (alpha-ReQ, arXiv 2202.05808), R^2 of the fit, and the ranks it used.

    A line through log eigenvalue over log rank, weighted by 1 / rank so that every octave counts alike, from rank 11 to
    500 as in Stringer et al. 2019; ``eigenvalues`` descend. None with fewer than 10 nonzero ones in the range.
    """
    last = min(last, int((eigenvalues > 0).sum()))
    if last - first + 1 < 10:
        return None
    ranks = torch.arange(first, last + 1, dtype=torch.float64)
    x, y, w = ranks.log(), eigenvalues[first - 1 : last].log(), 1 / ranks
    x, y = x - (w * x).sum() / w.sum(), y - (w * y).sum() / w.sum()
    slope = (w * x * y).sum() / (w * x * x).sum()
    rest = (w * (y - slope * x) ** 2).sum() / (w * y * y).sum()
    return -slope.item(), 1 - rest.item(), [first, last]


def uniformity(h: Tensor, *, t: float = 2.0) -> Tensor:
    """log mean over pairs of exp(-t |z_i - z_j|^2), z unit rows (Wang and Isola, arXiv 2005.10242); 0: all equal."""
    z = F.normalize(h, dim=1)
    total = sum(
        torch.exp(2 * t * (rows @ z.T - 1)).sum() for rows in z.split(1024)
    )  # |a - b|^2 = 2 - 2 cos, so each pair counts twice and each row once with itself
    pairs = len(z) * (len(z) - 1)
    return ((total - len(z)) / pairs).log()  # pyright: ignore[reportAttributeAccessIssue]


def kl_to_uniform(h: Tensor) -> Tensor:
    """MKL(S, I/d), S = Z^T Z / n of unit rows (arXiv 2305.17326, eq. 3): log d - H(S), so erank(S) = d / exp of it."""
    z = F.normalize(h, dim=1)
    gram = z @ z.T if len(z) <= z.shape[1] else z.T @ z
    p = (torch.linalg.eigvalsh(gram) / len(z)).clamp(min=0)
    return math.log(h.shape[1]) + torch.special.xlogy(p, p).sum()


def nc1(h: Tensor, y: Tensor) -> Tensor:
    """tr(Sigma_W Sigma_B^+) / K (Papyan et al., arXiv 2008.08186, NC1): 0 where every class is one point.

    Sigma_W is the mean covariance within classes, Sigma_B that of the K class means about the global mean. The
    pseudo-inverse has K - 1 directions at most, so only those of the means are built.
    """
    rows = per_class(h, y)
    means = rows.mean(1)
    centred = means - means.mean(0)
    _, sigma, V = torch.linalg.svd(centred, full_matrices=False)
    kept = sigma > max(centred.shape) * torch.finfo(h.dtype).eps * sigma[0]
    within = (rows - means[:, None]).flatten(0, 1) @ V[kept].T
    K = len(means)
    return (within.square().mean(0) * K / sigma[kept].square()).sum() / K


def etf_distance(h: Tensor, y: Tensor) -> Tensor:
    """|| M M^T / ||M M^T|| - (I - 11^T / K) / sqrt(K - 1) ||, M the centred class means (Zhu et al., 2105.02375, NC2).

    0 where the means are the corners of a regular simplex. Frobenius norms, M (K, d).
    """
    means = per_class(h, y).mean(1)
    M = means - means.mean(0)
    K = len(M)
    gram = M @ M.T
    simplex = (torch.eye(K, dtype=h.dtype, device=h.device) - 1 / K) / math.sqrt(K - 1)
    return (gram / gram.norm() - simplex).norm()
