"""The identities of the papers, each by its number; where the print is wrong, both sides.

Numbers are those of arXiv 2305.17326. Theorems 4.1 and D.5 and Proposition 5.1 were not at hand word for word: their
tests are named after the number in the project's map and say what they check.
"""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pretrain.losses import matrix_information as mi

B, D, EPS = 64, 8, 0.5
REFERENCE = np.load(Path(__file__).parents[1] / "losses/losses.npz")
close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def gaussian(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit_rows(seed: int = 0) -> torch.Tensor:
    """A batch on the sphere, wide along some axes and narrow along others."""
    return F.normalize(gaussian(B, D, seed=seed) * torch.linspace(0.3, 2, D, dtype=torch.float64), dim=1)


def second_moment(z: torch.Tensor) -> torch.Tensor:
    return z.T @ z / len(z)


def identity(size: int = D) -> torch.Tensor:
    return torch.eye(size, dtype=torch.float64)


def number(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def simplex(K: int, dimension: int) -> torch.Tensor:
    """K unit vectors in `dimension` space with all cosines -1/(K-1): a simplex equiangular tight frame, as rows."""
    corners = F.normalize(identity(K) - 1 / K, dim=1)
    turn = torch.linalg.qr(gaussian(dimension, K, seed=9)).Q
    return corners @ turn.T


def loss_of_mec(z1, z2, *, lam: float, mu: float, order: int) -> torch.Tensor:
    """-mu tr Log_n(I_B + lam z1 z2^T), the objective of maximum entropy coding to order n."""
    return -mu * mi.matrix_log_taylor(identity(len(z1)) + lam * z1 @ z2.T, order).trace()


def test_values_of_the_reference_file():
    for shape in ("tall", "wide"):
        P, Q = (F.normalize(torch.from_numpy(REFERENCE[f"{shape}_{name}"]), dim=1) for name in ("z1", "p1"))
        want = {key: number(REFERENCE[f"{shape}_{key}"].item()) for key in ("ME", "MKL", "MCE")}
        ridged = [second_moment(z) + REFERENCE[f"{shape}_lambda"].item() * identity(z.shape[1]) for z in (P, Q)]
        close(mi.matrix_entropy(ridged[0]), want["ME"])
        close(mi.matrix_kl(*ridged), want["MKL"])
        close(mi.matrix_cross_entropy(*ridged), want["MCE"])
        close(mi.effective_rank(second_moment(P)), number(REFERENCE[f"{shape}_erank_cov"].item()))
        close(mi.effective_rank(P), number(REFERENCE[f"{shape}_erank_features"].item()))
        close(mi.total_coding_rate(P, math.sqrt(0.5)), number(REFERENCE[f"{shape}_TCR_eps2_0.5"].item()))


def test_eq1_total_coding_rate_is_the_coding_length_per_sample_and_feature():
    z = unit_rows()
    close(mi.coding_length(z, EPS), (B + D) * mi.total_coding_rate(z, EPS))


def test_theorem_3_2_total_coding_rate_is_largest_for_an_isotropic_batch():
    isotropic = torch.cat([identity(), -identity()]).repeat(B // (2 * D), 1)
    close(second_moment(isotropic), identity() / D)
    best = mi.total_coding_rate(isotropic, EPS)
    close(best, D / 2 * number(1 + 1 / EPS**2).log())
    assert all(mi.total_coding_rate(unit_rows(seed), EPS) < best for seed in range(20))


def test_definition_2_1_matrix_entropy_of_the_isotropic_matrix_and_of_a_padded_one():
    close(mi.matrix_entropy(identity() / D), number(math.log(D) + 1))
    A = second_moment(unit_rows())
    padded = torch.block_diag(A, torch.zeros(3, 3, dtype=torch.float64))
    close(mi.matrix_entropy(padded), mi.matrix_entropy(A))


def test_eq4_cross_entropy_is_kl_plus_entropy():
    P, Q = second_moment(unit_rows(1)), second_moment(unit_rows(2))
    direct = (P @ (mi.matrix_log(P) - mi.matrix_log(Q)) - P + Q).trace()
    close(mi.matrix_kl(P, Q), direct)
    close(mi.matrix_cross_entropy(P, Q), direct + mi.matrix_entropy(P))


@pytest.mark.parametrize("divergence", [mi.matrix_kl, mi.matrix_cross_entropy], ids=["eq5_kl", "eq6_cross_entropy"])
def test_eq5_and_eq6_least_where_the_second_matrix_is_the_first(divergence):
    P = second_moment(unit_rows())
    least = divergence(P, P)
    for seed in range(20):
        step = gaussian(D, D, seed=seed)
        near = P + 1e-2 * step @ step.T / D
        assert divergence(P, near) > least
        assert divergence(P, second_moment(unit_rows(seed + 1))) > least
    close(mi.matrix_kl(P, P), number(0.0))


def ridged_pair():
    """The batch, its ridge lam = eps^2 / D, and the two matrices of eq. 8."""
    z, lam = unit_rows(), EPS**2 / D
    return z, lam, identity() / D + lam * identity(), second_moment(z) + lam * identity()


def test_eq9_holds_with_minus_two_over_d_and_not_as_printed():
    z, lam, P, Q = ridged_pair()
    rate = mi.total_coding_rate(z, EPS)
    found = mi.matrix_cross_entropy(P, Q)
    close(found, (1 + D * lam) * (-math.log(lam) + 1 - 2 / D * rate))
    printed = (1 + D * lam) * (-math.log(lam) + 1 + 2 * rate)
    assert printed > 3 * found


def test_eq10_holds_with_minus_two_over_d_and_not_as_printed():
    z, lam, P, Q = ridged_pair()
    rate = mi.total_coding_rate(z, EPS)
    found = mi.matrix_kl(P, Q)
    close(found, (1 + D * lam) * (math.log((1 + D * lam) / (D * lam)) - 2 / D * rate))
    printed = (1 + D * lam) * (math.log((1 + D * lam) / (D * lam)) + 2 * rate)
    assert printed > 3 * found


def test_theorem_4_1_features_uniform_on_the_sphere_have_mean_zero_and_covariance_identity_over_d():
    """Checked: the moments that uniformity aims at. Exact for a rotation-symmetric sample, near for a random one."""
    axes = torch.cat([identity(), -identity()])
    close(mi.covariance(axes, axes), identity() / D)
    z = F.normalize(gaussian(200_000, D), dim=1)
    torch.testing.assert_close(mi.covariance(z, z), identity() / D, rtol=0, atol=2e-3)


def test_lemma_4_2_covariance_is_the_product_with_the_centering_matrix():
    z1, z2 = unit_rows(1), unit_rows(2)
    H = identity(B) - torch.ones(B, B, dtype=torch.float64) / B
    close(mi.covariance(z1, z2), z1.T @ H @ z2 / B)


def test_eq12_uniformity_is_least_at_the_isotropic_matrix_among_equal_trace():
    target = identity() / D
    least = mi.matrix_cross_entropy(target, target)
    for seed in range(20):
        S = second_moment(unit_rows(seed))
        assert mi.matrix_cross_entropy(target, S) > least


def test_proposition_5_1_kl_to_the_isotropic_matrix_is_log_d_minus_the_von_neumann_entropy():
    """Checked for unit trace, where the von Neumann entropy -tr(S log S) is ME(S) - 1."""
    S = second_moment(unit_rows())
    close(mi.matrix_kl(S, identity() / D), math.log(D) - (mi.matrix_entropy(S) - 1))


def test_eq15_effective_rank_is_d_over_exp_of_matrix_kl_for_unit_trace_only():
    S = second_moment(unit_rows())
    close(mi.effective_rank(S), D / mi.matrix_kl(S, identity() / D).exp())
    z = unit_rows() + 0.5  # off centre, so that the covariance's trace is well below 1
    C = mi.covariance(F.normalize(z, dim=1), F.normalize(z, dim=1))
    assert (mi.effective_rank(C) - D / mi.matrix_kl(C, identity() / D).exp()).abs() > 0.1
    C = C / C.trace()
    close(mi.effective_rank(C), D / mi.matrix_kl(C, identity() / D).exp())


def test_eq7_effective_rank_ignores_scale_and_counts_equal_directions():
    A = gaussian(B, D)
    close(mi.effective_rank(7 * A), mi.effective_rank(A))
    flat = torch.diag(torch.tensor([2.0] * 5 + [0.0] * 3, dtype=torch.float64))
    close(mi.effective_rank(flat), number(5.0))


@pytest.mark.parametrize("K", [3, 8])
def test_theorem_d3_effective_rank_of_a_simplex_is_k_minus_1(K):
    means = simplex(K, 16)
    close(mi.effective_rank(means @ means.T), number(K - 1.0))


def test_theorem_d5_under_neural_collapse_the_whole_batch_has_the_effective_rank_of_its_class_means():
    """Checked: with n samples on each corner of a simplex, features, Gram matrix and covariance all have K - 1."""
    K, n = 5, 6
    z = simplex(K, 16).repeat_interleave(n, dim=0)
    for matrix in (z, z @ z.T, mi.covariance(z, z)):
        close(mi.effective_rank(matrix), number(K - 1.0))


def test_theorem_a1_taylor_logarithm_approaches_the_logarithm():
    A = identity() + second_moment(unit_rows())
    exact = mi.matrix_log(A)
    errors = [(mi.matrix_log_taylor(A, order) - exact).norm().item() for order in (1, 2, 3, 4, 8, 64)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 1e-12
    collapsed = mi.matrix_log_taylor(number(2.0).reshape(1, 1), 4).item()
    assert collapsed == pytest.approx(0.58333, abs=1e-5)  # log 2 = 0.693
    far = mi.covariance(unit_rows(), unit_rows()) + 0.01 * identity()
    assert (mi.matrix_log_taylor(far, 4) - mi.matrix_log(far)).norm() > 0.2 * mi.matrix_log(far).norm()


def test_eq2_maximum_entropy_coding_is_minus_mu_log_det_once_the_series_converges():
    z, lam, mu = unit_rows(), 0.9 / B, (B + D) / 2
    eps = math.sqrt(D / (B * lam))  # lam = D / (B eps^2)
    close(loss_of_mec(z, z, lam=lam, mu=mu, order=200), -mi.coding_length(z, eps))


def test_mec_order_1_is_the_loss_of_simsiam_times_mu_lam_b():
    z1, z2, lam, mu = unit_rows(1), unit_rows(2), 0.01, 3.0
    simsiam = -F.cosine_similarity(z1, z2, dim=1).mean()
    close(loss_of_mec(z1, z2, lam=lam, mu=mu, order=1), mu * lam * B * simsiam)


def test_mec_order_2_is_the_form_of_barlow_twins_times_mu_over_2_minus_a_constant():
    """With c = lam z1^T z2: (mu/2) (sum_i (1 - c_ii)^2 + sum_{i != j} c_ij c_ji - D).

    Barlow Twins has c_ij^2 with a weight of its own instead of c_ij c_ji, and scales columns where MEC scales rows;
    c_ij c_ji is c_ij^2 where the cross-correlation is symmetric, as here for z1 = z2.
    """
    z1, lam, mu = unit_rows(1), 0.01, 3.0
    for z2, symmetric in ((unit_rows(2), False), (z1, True)):
        c = lam * z1.T @ z2
        mixed = c.square() if symmetric else c * c.T
        barlow = (1 - c.diagonal()).square().sum() + mixed.sum() - mixed.diagonal().sum()
        close(loss_of_mec(z1, z2, lam=lam, mu=mu, order=2), mu / 2 * (barlow - D))


def test_total_covariance_is_intra_plus_inter():
    """The covariance of all is the mean covariance within classes plus the covariance of the class means."""
    z = unit_rows()
    y = torch.arange(B) % 5
    shares = torch.bincount(y).double() / B
    classes = [z[y == k] for k in range(5)]
    intra = sum(share * mi.covariance(c, c) for share, c in zip(shares, classes, strict=True))
    means = torch.stack([c.mean(0) for c in classes])[y]
    close(mi.covariance(z, z), intra + mi.covariance(means, means))


def test_mixture_coding_length_of_one_class_is_the_coding_length_and_separate_lines_are_shorter_apart():
    z = unit_rows()
    close(mi.mixture_coding_length(z, torch.ones(B, 1), EPS), mi.coding_length(z, EPS))
    y = torch.arange(B) % 4
    lines = F.one_hot(y, D).double() * gaussian(B, 1).sign()
    memberships = F.one_hot(y, 4)
    assert mi.mixture_coding_length(lines, memberships, 0.05) < mi.coding_length(lines, 0.05)
    labels = B * math.log(4)  # what remains when nothing is to be coded but the classes
    close(mi.mixture_coding_length(0 * lines, memberships, EPS), number(labels))


def test_renyi_entropy_counts_equal_eigenvalues_and_falls_with_its_order():
    for alpha in (0.5, 1, 2, 3):
        close(mi.matrix_renyi_entropy(identity(B), alpha), number(math.log(B)))
    gram = unit_rows() @ unit_rows().T
    orders = [mi.matrix_renyi_entropy(gram, alpha).item() for alpha in (0.5, 0.999999, 1, 1.000001, 2, 3)]
    assert orders == sorted(orders, reverse=True) and orders[1] - orders[3] < 1e-4
    close(mi.matrix_renyi_entropy(gram, 2), 2 * math.log(B) - gram.square().sum().log())
    close(mi.matrix_renyi_entropy(gram).exp(), mi.effective_rank(gram))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_renyi_entropy_of_a_singular_gram_matrix_counts_no_rounding(dtype):
    """Four classes, equal rows in each: 4 equal eigenvalues and 60 zeros, so log 4 at every order."""
    labels = F.one_hot(torch.arange(B) % 4).to(dtype)
    for alpha in (0.01, 0.1, 0.5, 1, 2):
        assert mi.matrix_renyi_entropy(labels @ labels.T, alpha).item() == pytest.approx(math.log(4), rel=1e-5)


def test_mutual_information_is_all_of_the_entropy_for_labels_and_none_with_a_constant():
    """Two copies of one labelling share its whole entropy; a constant view shares nothing."""
    labels = F.one_hot(torch.arange(B) % 4).double()
    same, constant = labels @ labels.T, torch.ones(B, B, dtype=torch.float64)
    for alpha in (1, 2):
        close(mi.matrix_joint_entropy(same, same, alpha), number(math.log(4)))
        close(mi.matrix_mutual_information(same, same, alpha), number(math.log(4)))
        close(mi.matrix_mutual_information(same, constant, alpha), number(0.0))


def test_a_cross_covariance_is_refused_by_the_symmetric_logarithm():
    cross = mi.covariance(unit_rows(1), unit_rows(2)) + identity()
    with pytest.raises(ValueError, match="symmetric"):
        mi.matrix_log(cross)
    close(mi.matrix_log_taylor(cross, 60).trace(), torch.linalg.slogdet(cross).logabsdet)


def test_singular_and_misordered_input_is_refused():
    with pytest.raises(ValueError, match="add a multiple of I"):
        mi.matrix_log(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="at least 1"):
        mi.matrix_log_taylor(torch.eye(3), 0)
    with pytest.raises(ValueError, match="above 0"):
        mi.matrix_renyi_entropy(torch.eye(3), 0)
