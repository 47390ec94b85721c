"""Matrix-SSL: uniformity plus alignment of covariance matrices (arXiv 2305.17326, section 4).

Letters: B samples in the global batch, D features; C11 is the covariance of the target branch, C22 of the online
branch, C12 between them. Log_n is the Taylor logarithm of order n about I.
"""

import torch
from torch import Tensor

from pretrain.losses import exact_traces, taylor_traces
from pretrain.losses.shared_matmul import shared_matmul
from pretrain.losses.trace_gradients import Matmul
from pretrain.losses.unit_rows import centred_unit_rows
from pretrain.methods import Embeddings
from pretrain.methods.settings.matrix_ssl import Config
from pretrain.networks.backbone import Backbone
from pretrain.networks.siamese import Siamese
from runtime.command_line import UserError


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
    """The loss of the authors' release for one direction, U + gamma A, where

    U = -target_scale tr Log_n(C12 + ridge I),  A = -tr((C11 + ridge I) Log_n(C22 + ridge I)).

    This is not the paper's loss. With ridge 1 and target_scale 1 the paper's eq. 14 is U/D + gamma (A + tr C22) and a
    constant, so that the same gamma weighs alignment D times less here, and tr C22 = 1 - ||mean||^2, which is no
    constant, is dropped. In both, the ridge on C11 brings -tr log(C22 + I) into A: uniformity of the auto-covariance.

    Args:
        online: (B, D), the branch that learns; rows need not be normalised or centred.
        target: (B, D), the other branch; no gradient goes through it.
        gamma: weight of the alignment, contained in the result.
        ridge: multiple of I added to each covariance before its logarithm (the release's mce_mu).
        target_scale: multiple of I that uniformity aims at (the release's mce_lambd).
        order: n, of the Taylor logarithm about I, at least 1; None for the exact logarithm, which for the C12 of
            unit rows exists with ridge 1 (`exact_traces` says where else, and names the one exception).
        matmul: the matrix product, `pretrain.losses.shared_matmul` to share the work among ranks.

    Returns:
        ``uniformity`` and ``alignment``, scalars whose sum is the loss.
    """
    online, target = centred_unit_rows(online), centred_unit_rows(target.detach())
    cross, weighted = _log_traces(online, target, ridge=ridge, order=order, matmul=matmul)
    return {"uniformity": -target_scale * cross, "alignment": -gamma * weighted}


def paper_terms(
    online: Tensor,
    target: Tensor,
    *,
    gamma: float = 1.0,
    ridge: float = 1.0,
    order: int | None = 4,
    matmul: Matmul = torch.matmul,
) -> dict[str, Tensor]:
    """The loss of the paper for one direction, eq. 14, with ridge I added to every covariance that is in an MCE:

    MCE(I/D, C12 + ridge I)  (eq. 12)  and  -tr C12 + gamma MCE(C11 + ridge I, C22 + ridge I)  (eq. 13).

    Each MCE(P, Q) = tr(-P log Q + Q) carries a constant, ridge * D. The tr C12 of eq. 12 and the -tr C12 of eq. 13
    cancel; both are here because they are in the paper. What of C12 then remains at first order is the first term of
    the logarithm's own series, -tr C12 / D (ridge 1). Arguments and result as for `released_terms`.
    """
    online, target = centred_unit_rows(online), centred_unit_rows(target.detach())
    B, D = online.shape
    cross, weighted = _log_traces(online, target, ridge=ridge, order=order, matmul=matmul, less_trace=1.0)
    trace_12 = (online * target).sum() / B
    return {
        "uniformity": trace_12 + ridge * D - cross / D,
        "alignment": -trace_12 + gamma * (ridge * D - weighted),
    }


def series_norm(online: Tensor, target: Tensor, *, ridge: float = 1.0) -> float:
    """The larger norm of A - I over both logarithms' arguments A; Theorem A.1's series converges if it is below 1."""
    online, target = centred_unit_rows(online.detach()), centred_unit_rows(target.detach())
    scale = 1 / len(online)
    return max(taylor_traces.series_norm(online, other, scale=scale, ridge=ridge) for other in (target, online))


def _log_traces(online: Tensor, target: Tensor, *, ridge: float, order: int | None, matmul: Matmul, less_trace=0.0):
    """tr Log(C12 + ridge I) and tr((C11 + ridge I) Log(C22 + ridge I)) - less_trace tr C22, Taylor or exact."""
    if ridge < 0:
        raise UserError(f"the ridge is a multiple of I that is added, expected >= 0, found {ridge}; 1 is usual")
    settings = {"scale": 1 / len(online), "ridge": ridge, "less_trace": less_trace}
    if order is None:
        return exact_traces.log_traces(online, target, **settings)
    return taylor_traces.log_traces(online, target, order=order, matmul=matmul, **settings)


VARIANTS = {"released": released_terms, "paper": paper_terms}


class Method(Siamese):
    """The shared network with a teacher; the loss of both directions, averaged."""

    def __init__(self, backbone: Backbone, config: Config):
        super().__init__(
            backbone,
            projector_width=config.projector_width,
            predictor_width=config.predictor_width,
            teacher_momentum=config.teacher_momentum,
        )
        self.config = config
        self.series_checked = config.order is None

    def loss_terms(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """Both directions, averaged: each view's online output against the other view's target."""
        (online_1, online_2), (target_1, target_2), _ = embeddings
        c = self.config
        if not self.series_checked:
            self.series_checked = True
            norm = series_norm(online_1, target_2, ridge=c.ridge)
            remedy = f"move method.ridge={c.ridge} towards 1, or take method.order=none"
            taylor_traces.warn_if_series_diverges(norm, when="the first batch", remedy=remedy)
        settings = {"gamma": c.gamma, "ridge": c.ridge, "order": c.order, "matmul": shared_matmul}
        if c.variant == "released":
            settings["target_scale"] = c.target_scale
        terms = VARIANTS[c.variant]
        one, two = terms(online_1, target_2, **settings), terms(online_2, target_1, **settings)
        return {name: (one[name] + two[name]) / 2 for name in one}
