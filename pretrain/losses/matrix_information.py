"""Quantities of matrix information theory in self-supervised learning, one function per definition.

Equation numbers are those of "Matrix Information Theory for Self-Supervised Learning" (arXiv 2305.17326) unless
another source is named. float32 or float64; all logarithms are natural.

Letters: B samples, D features, K classes; P, Q, A positive semi-definite (D, D). The paper stacks samples as columns,
Z of shape D x B; here samples are rows, z = Z^T, so that its Z_1 H_B Z_2^T is (z1 - mean)^T (z2 - mean).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def total_coding_rate(z: Tensor, eps: float) -> Tensor:
    """L_TCR = 1/2 log det(I_D + D / (B eps^2) Z Z^T)  (eq. 1); z (B, D), in nats per sample."""
    B, D = z.shape
    return torch.linalg.slogdet(_eye(D, z) + D / (B * eps**2) * z.T @ z).logabsdet / 2


def coding_length(z: Tensor, eps: float) -> Tensor:
    """L = (B + D)/2 log det(I_B + D / (B eps^2) Z^T Z); z (B, D), in nats, for zero-mean samples.

    What it takes to code the batch up to a mean squared error of eps^2 (Ma et al. 2007, eq. 6, there in bits): the
    entropy that maximum entropy coding maximises. Equals (B + D) times ``total_coding_rate``.
    """
    B, D = z.shape
    return (B + D) / 2 * torch.linalg.slogdet(_eye(B, z) + D / (B * eps**2) * z @ z.T).logabsdet


def mixture_coding_length(z: Tensor, memberships: Tensor, eps: float) -> Tensor:
    """Sum over classes of (n_k + D)/2 log det(I_D + D / (n_k eps^2) Z Pi_k Z^T) - n_k log(n_k / B), in nats.

    The length when each class is coded with a code of its own and the labels are sent along (Ma et al. 2007).

    Args:
        z: (B, D).
        memberships: (B, K), the diagonals of the Pi_k: rows >= 0 of sum 1, one-hot for labels; n_k are column sums.
        eps: square root of the allowed mean squared error.
    """
    B, D = z.shape
    length = z.new_zeros(())
    for weights in memberships.to(z.dtype).T:
        n = weights.sum()
        if n > 0:
            scatter = (z * weights[:, None]).T @ z
            length = length + (n + D) / 2 * torch.linalg.slogdet(_eye(D, z) + D / (n * eps**2) * scatter).logabsdet
            length = length - n * (n / B).log()
    return length


def matrix_log(A: Tensor) -> Tensor:
    """log A of a symmetric positive definite A (D, D), by its eigenvalues.

    Only one triangle of A is read, so a non-symmetric matrix would give a wrong answer: it raises instead. The
    gradient is not finite where eigenvalues repeat; losses use ``pretrain.losses.taylor_traces`` or ``exact_traces``.

    Raises:
        ValueError: if A is not symmetric or has an eigenvalue at or below zero.
    """
    eigenvalues, V = torch.linalg.eigh(_symmetric(A))
    if eigenvalues[0] <= 0:
        raise ValueError(
            f"matrix_log needs eigenvalues above 0, the least is {eigenvalues[0].item():.3g}; add a multiple of I"
        )
    return V * eigenvalues.log() @ V.T


def matrix_log_taylor(A: Tensor, order: int) -> Tensor:
    """log A = sum over k of (-1)^(k+1) (A - I)^k / k, up to k = order  (Theorem A.1); any square A (D, D).

    Converges if ||A - I|| < 1. At order 4 it is accurate to 1e-4 on I + C with small C, but C + 0.01 I is still a
    quarter off, and an eigenvalue 2 of A, the collapse of unit rows to a line, gives 0.583 for log 2 = 0.693.

    Raises:
        ValueError: if ``order`` is below 1.
    """
    if order < 1:
        raise ValueError(f"the order of a Taylor logarithm is at least 1, found {order}")
    E = A - _eye(len(A), A)
    power = result = E
    for k in range(2, order + 1):
        power = power @ E
        result = result + (-1) ** (k + 1) / k * power
    return result


def matrix_entropy(A: Tensor) -> Tensor:
    """ME(A) = -tr(A log A) + tr A  (Def. 2.1), with 0 log 0 = 0; ME(I/D) = log D + 1."""
    eigenvalues = torch.linalg.eigvalsh(_symmetric(A)).clamp(min=0)  # below 0 only by rounding
    return -torch.special.xlogy(eigenvalues, eigenvalues).sum() + A.trace()


def matrix_kl(P: Tensor, Q: Tensor) -> Tensor:
    """MKL(P, Q) = tr(P log P - P log Q - P + Q)  (eq. 3); 0 at P = Q and positive elsewhere (eq. 5).

    P may be singular, Q may not. Between P + lam I and S + lam I with P = I/D, S = Z Z^T / B of unit rows and
    lam = eps^2 / D, eq. 10 is printed with 2 L_TCR where this holds:
    MKL = (1 + D lam) (log((1 + D lam) / (D lam)) - (2/D) L_TCR).
    """
    return matrix_cross_entropy(P, Q) - matrix_entropy(P)


def matrix_cross_entropy(P: Tensor, Q: Tensor, *, log: Callable[[Tensor], Tensor] = matrix_log) -> Tensor:
    """MCE(P, Q) = tr(-P log Q + Q)  (eq. 4); least in Q at Q = P (eq. 6).

    Between P + lam I and S + lam I with P = I/D, S = Z Z^T / B of unit rows and lam = eps^2 / D (eq. 8), eq. 9 is
    printed with 2 L_TCR where this holds: MCE = (1 + D lam) (-log lam + 1 - (2/D) L_TCR). (The appendix takes
    -tr log for +2 L_TCR, and 1/D + lam for 1 + D lam.)

    Args:
        P: (D, D).
        Q: (D, D), positive definite.
        log: the logarithm; a Taylor logarithm also takes a Q that is not symmetric, such as a cross-covariance.
    """
    return (-P @ log(Q) + Q).trace()


def effective_rank(A: Tensor) -> Tensor:
    """erank(A) = exp H(sigma / sum sigma), with the singular values sigma of any A (m, n)  (eq. 7).

    Between 1 and the rank, whatever the scale of A. For S of unit trace, erank(S) = D / exp MKL(S, I/D)  (eq. 15):
    true of Z Z^T / B with unit rows, not of ``covariance``, whose trace is 1 - ||mean||^2 until divided by it.
    The effective rank of features (their singular values) is not that of their covariance (the squares of these).
    """
    s = torch.linalg.svdvals(A)
    p = s / s.sum()
    return torch.exp(-torch.special.xlogy(p, p).sum())


def covariance(z1: Tensor, z2: Tensor) -> Tensor:
    """C(Z1, Z2) = Z1 H_B Z2^T / B  (Lemma 4.2), (D, D); z1, z2 (B, D). Not symmetric unless z1 is z2."""
    return (z1 - z1.mean(0)).T @ (z2 - z2.mean(0)) / len(z1)


def matrix_renyi_entropy(A: Tensor, alpha: float = 1.0) -> Tensor:
    """H_alpha(A) = log tr(A^alpha) / (1 - alpha) of A / tr A; for alpha = 1 its limit, -tr(A log A).

    The matrix-based Renyi entropy of a Gram matrix A (B, B), as in "Information Flow in Self-Supervised Learning"
    (arXiv 2309.17281), which takes a diagonal of ones and divides by B: the same as dividing by the trace. At order 2,
    that of its theorems, it is log B^2 - log ||A||_F^2, for which no eigenvalue is needed.

    Raises:
        ValueError: if ``alpha`` is not positive.
    """
    if alpha <= 0:
        raise ValueError(f"the order of a Renyi entropy is above 0, found {alpha}")
    if alpha == 2:
        return 2 * A.trace().log() - _symmetric(A).square().sum().log()
    p = torch.linalg.eigvalsh(_symmetric(A)) / A.trace()
    p = p[p > len(p) * torch.finfo(p.dtype).eps]  # what is rounding, a small alpha would raise to the size of the rest
    if alpha == 1:
        return -torch.special.xlogy(p, p).sum()
    return p.pow(alpha).sum().log() / (1 - alpha)


def sample_gram(z: Tensor) -> Tensor:
    """Gram matrix (B, B) of the rows of z (B, D) at unit length, not centred: the samples' side of arXiv 2309.17281.

    Its diagonal is exactly one, that of a row of zeros too.
    """
    unit = F.normalize(z, dim=1)
    return (unit @ unit.T).fill_diagonal_(1.0)


def feature_gram(z: Tensor) -> Tensor:
    """Correlation matrix (D, D) of the columns of z (B, D): what Barlow Twins' loss is of, the features' side.

    It is Z^T Z / B of batch-normalised features, its diagonal exactly one, that of a constant feature too.
    """
    return sample_gram((z - z.mean(0)).T)


def matrix_joint_entropy(A1: Tensor, A2: Tensor, alpha: float = 1.0) -> Tensor:
    """H_alpha(A1, A2) = H_alpha(A1 * A2), * entry by entry, of two Gram matrices (B, B) of the same samples.

    No smaller than either entropy, at any order, where the diagonals are constant.
    """
    return matrix_renyi_entropy(A1 * A2, alpha)


def matrix_mutual_information(A1: Tensor, A2: Tensor, alpha: float = 1.0) -> Tensor:
    """I_alpha(A1; A2) = H_alpha(A1) + H_alpha(A2) - H_alpha(A1, A2), for Gram matrices (B, B) of equal diagonal.

    At most the smaller entropy. At order 1 it is never negative; at order 2 it can be: Renyi's entropies are not
    subadditive.
    """
    return matrix_renyi_entropy(A1, alpha) + matrix_renyi_entropy(A2, alpha) - matrix_joint_entropy(A1, A2, alpha)


def _eye(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)


def _symmetric(A: Tensor) -> Tensor:
    """A, or a ValueError if it differs from its transpose by more than rounding."""
    tolerance = len(A) * torch.finfo(A.dtype).eps * A.detach().abs().max()
    if (A.detach() - A.detach().T).abs().max() > tolerance:
        raise ValueError("expected a symmetric matrix; for a cross-covariance take matrix_log_taylor")
    return A
