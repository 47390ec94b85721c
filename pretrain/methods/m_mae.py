"""M-MAE: a masked auto-encoder whose class tokens have a large matrix entropy (arXiv 2309.17281).

Letters: m samples in the global batch, d features.
"""

import torch
from torch import Tensor

from pretrain.losses.unit_rows import smaller_gram


def regulariser(f: Tensor, *, mu: float, scale: str = "width") -> Tensor:
    """-log det(I + s F^T F), F the rows of f (m, d) scaled to unit length: minus their total coding rate.

    To second order it is -s m + (s m)^2 / 2 times U-MAE's regulariser. det(I + s F F^T) is the same number, and is
    taken where m < d.

    Args:
        mu: 0 or more.
        scale: ``width``, s = mu / d, which the released code computes (it divides by the side of F^T F), or ``batch``,
            s = mu / m, which the comment beside it says. At d = m = 1024, the released ViT-L, they are the same.
    """
    K = smaller_gram(f)
    m, d = f.shape
    A = torch.eye(len(K), dtype=K.dtype, device=K.device) + mu / (d if scale == "width" else m) * K
    # All eigenvalues are 1 or more: nothing to check, for which a GPU would be waited for.
    return -2 * torch.linalg.cholesky_ex(A).L.diagonal().log().sum()
