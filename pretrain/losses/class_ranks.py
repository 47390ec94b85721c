"""How many directions labelled features use: within classes, between classes, in all (arXiv 2305.17326, appendix D).

The effective rank of a matrix is exp of the entropy of its singular values, summing to 1 (eq. 7). Of a covariance these
are its eigenvalues (``cov``, the papers' definition); of the features themselves, their square roots (``sv``, as RankMe
takes them): about twice as large.

Letters: n images, d features, K classes; h (n, d) features, y (n,) class numbers.
"""

import torch
from torch import Tensor

OVER = ("cov", "sv")
CHUNK = 1 << 27  # numbers in one batch of matrices: 1 GiB in float64


def spectrum(x: Tensor) -> Tensor:
    """Eigenvalues (..., min(n, d)) of the covariances of sets of rows x (..., n, d), ascending.

    From the smaller of the covariance and the Gram matrix, whose eigenvalues besides zeros are the same. What is
    rounding is set to zero, so that its square root does not count either.
    """
    x = x - x.mean(-2, keepdim=True)
    n, d = x.shape[-2:]
    products = x @ x.mT if n <= d else x.mT @ x
    eigenvalues = torch.linalg.eigvalsh(products / n)
    rounding = max(n, d) * torch.finfo(x.dtype).eps * eigenvalues[..., -1:]
    return torch.where(eigenvalues > rounding, eigenvalues, 0.0)


def entropy_rank(eigenvalues: Tensor, *, over: str = "cov") -> Tensor:
    """exp H(p), p the eigenvalues (``cov``) or their square roots (``sv``) over their sum; (..., m) -> (...).

    0 where all eigenvalues are 0: rows that are all equal span nothing.
    """
    assert over in OVER
    s = eigenvalues if over == "cov" else eigenvalues.sqrt()
    p = s / s.sum(-1, keepdim=True).clamp(min=torch.finfo(s.dtype).tiny)
    return torch.where(s.sum(-1) > 0, torch.exp(-torch.special.xlogy(p, p).sum(-1)), 0.0)


def class_spectra(h: Tensor, y: Tensor) -> Tensor:
    """Eigenvalues (K, min(n, d)) of the covariance of each class present, classes ascending; the same n in each."""
    rows = per_class(h, y)
    n, d = rows.shape[1:]
    chunk = max(1, CHUNK // (min(n, d) ** 2 + n * d))
    return torch.cat([spectrum(part) for part in rows.split(chunk)])


def per_class(h: Tensor, y: Tensor) -> Tensor:
    """(n, d) -> (K, n / K, d), classes ascending. Raises ValueError unless every class has the same number of rows."""
    _, counts = y.unique(return_counts=True)
    if (counts != counts[0]).any():
        raise ValueError(f"classes have {counts.min()} to {counts.max()} rows; ranks compare only at one n")
    return h[y.argsort(stable=True)].unflatten(0, (len(counts), -1))


def intra_class(h: Tensor, y: Tensor, *, over: str = "cov") -> Tensor:
    """Mean over classes of the effective rank of each class's covariance (eq. 20); h (n, d), y (n,).

    Never above n_k - 1, with n_k images in every class: 99 on CIFAR-100's test set, whatever d is. Raises ValueError
    where classes differ in size.
    """
    return entropy_rank(class_spectra(h, y), over=over).mean()


def inter_class(h: Tensor, y: Tensor, *, over: str = "cov") -> Tensor:
    """Effective rank of the covariance of the K class means (eq. 21); never above K - 1."""
    return entropy_rank(spectrum(per_class(h, y).mean(1)), over=over)


def total(h: Tensor, *, over: str = "cov") -> Tensor:
    """Effective rank of the covariance of all rows; h (n, d)."""
    return entropy_rank(spectrum(h), over=over)
