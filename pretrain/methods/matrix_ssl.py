"""Matrix-SSL: uniformity plus alignment of covariance matrices (arXiv 2305.17326, section 4).

Letters: B samples in the global batch, D features; C11 is the covariance of the target branch, C22 of the online
branch, C12 between them. Log_n is the Taylor logarithm of order n about I.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.taylor_traces import Matmul, cross_log_trace, weighted_log_trace


def released_terms(
    online: Tensor,
    target: Tensor,
    *,
    gamma: float = 1.0,
    ridge: float = 1.0,
    target_scale: float = 1.0,
    order: int | None = 4,
    matmul: Matmul = torch.matmul,
) -> dict[str, Tensor]:
    """The loss of the authors' release for one direction: U + gamma A, where

    U = -target_scale tr Log_n(C12 + ridge I),  A = -tr((C11 + ridge I) Log_n(C22 + ridge I)).
    """
    online, target = _centred(online), _centred(target.detach())
    settings = {"scale": 1 / len(online), "ridge": ridge, "order": order, "matmul": matmul}
    return {
        "uniformity": -target_scale * cross_log_trace(online, target, **settings),
        "alignment": -gamma * weighted_log_trace(online, target, **settings),
    }


def paper_terms(
    online: Tensor,
    target: Tensor,
    *,
    gamma: float = 1.0,
    ridge: float = 1.0,
    order: int | None = 4,
    matmul: Matmul = torch.matmul,
) -> dict[str, Tensor]:
    """The loss of the paper for one direction: eq. 12 and eq. 13, with ridge I added to every covariance in an MCE."""
    online, target = _centred(online), _centred(target.detach())
    B, D = online.shape
    settings = {"scale": 1 / B, "ridge": ridge, "order": order, "matmul": matmul}
    trace_12 = (online * target).sum() / B
    trace_22 = online.square().sum() / B
    return {
        "uniformity": -cross_log_trace(online, target, **settings) / D + trace_12 + ridge * D,
        "alignment": -trace_12 + gamma * (trace_22 + ridge * D - weighted_log_trace(online, target, **settings)),
    }


def _centred(features: Tensor) -> Tensor:
    unit = F.normalize(features, dim=1)
    return unit - unit.mean(dim=0)
