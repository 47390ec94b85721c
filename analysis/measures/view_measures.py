"""Measures that compare random views of the same images.

Letters: n images, V views of each, d features; float64 is meant.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.matrix_information import matrix_joint_entropy, matrix_mutual_information
from pretrain.losses.matrix_information import sample_gram as gram

__all__ = ["MOST_FOR_MATRICES", "alignment", "gram", "lidar", "matrix_joint_entropy", "matrix_mutual_information"]

MOST_FOR_MATRICES = 1000  # images; the entropies are of n x n matrices and grow with log n


def alignment(z1: Tensor, z2: Tensor, *, power: float = 2.0) -> Tensor:
    """Mean of |z1_i - z2_i|^power over unit rows (n, d) (Wang and Isola, arXiv 2005.10242); 0 for equal views."""
    return (F.normalize(z1, dim=1) - F.normalize(z2, dim=1)).norm(dim=1).pow(power).mean()


def lidar(views: Tensor, *, delta: float = 1e-4, eps: float = 1e-8) -> Tensor:
    """Effective rank of Sigma_w^-1/2 Sigma_b Sigma_w^-1/2: directions that tell images apart (LiDAR, arXiv 2312.04000).

    views (n, V, d). Sigma_b is the covariance of the n images' means over views, Sigma_w that of the views about their
    image's mean, plus delta I. At most n - 1.
    """
    n, V, d = views.shape
    means = views.mean(1)
    within = (views - means[:, None]).flatten(0, 1)
    eigenvalues, U = torch.linalg.eigh(within.T @ within / (n * V))
    root = (U * (eigenvalues.clamp(min=0) + delta).rsqrt()) @ U.T
    whitened = (means - means.mean(0)) @ root
    product = whitened @ whitened.T if n <= d else whitened.T @ whitened
    spectrum = torch.linalg.eigvalsh(product / n).clamp(min=0)
    p = spectrum / spectrum.sum() + eps
    return torch.exp(-(p * p.log()).sum())
