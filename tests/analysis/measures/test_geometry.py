import math

import pytest
import torch

from analysis.measures import geometry, view_measures
from pretrain.losses import matrix_information as mi


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def eye(d: int) -> torch.Tensor:
    return torch.eye(d, dtype=torch.float64)


def test_rankme_is_1_for_rank_one_and_d_for_orthonormal_rows():
    assert geometry.rankme(rows(30, 1) * rows(1, 8)).item() == pytest.approx(1, abs=1e-4)
    assert geometry.rankme(eye(8)).item() == pytest.approx(8, abs=1e-4)
    h = rows(20, 9)
    assert geometry.rankme(h).item() == pytest.approx(mi.effective_rank(h).item(), rel=1e-5)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_alpha_is_the_exponent_of_a_power_law(exponent):
    eigenvalues = torch.arange(1, 401, dtype=torch.float64) ** -exponent
    slope, r2, fitted = geometry.alpha(eigenvalues)
    assert slope == pytest.approx(exponent) and r2 == pytest.approx(1) and fitted == [11, 400]


def test_alpha_needs_ten_eigenvalues_past_the_tenth():
    assert geometry.alpha(torch.ones(19, dtype=torch.float64)) is None
    assert geometry.alpha(torch.cat([torch.ones(12), torch.zeros(40)]).double()) is None


def test_uniformity_is_0_for_equal_rows_and_the_mean_over_pairs_otherwise():
    assert geometry.uniformity(torch.ones(5, 3).double()).item() == pytest.approx(0)
    square = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]]).double()  # |a - b|^2: 2 four times, 4 twice
    expected = math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6)
    assert geometry.uniformity(7 * square).item() == pytest.approx(expected)


def test_uniformity_in_chunks_is_uniformity():
    h = rows(1500, 4)
    z = torch.nn.functional.normalize(h, dim=1)
    assert geometry.uniformity(h).item() == pytest.approx(torch.pdist(z).pow(2).mul(-2).exp().mean().log().item())


def test_eq3_kl_to_uniform_is_0_for_orthonormal_rows_and_eq15_ties_it_to_the_rank():
    assert geometry.kl_to_uniform(eye(6)).item() == pytest.approx(0, abs=1e-12)
    assert geometry.kl_to_uniform(torch.ones(4, 6).double()).item() == pytest.approx(math.log(6))
    for shape in ((20, 6), (6, 20)):
        z = torch.nn.functional.normalize(rows(*shape), dim=1)
        S, d = z.T @ z / len(z), shape[1]
        assert geometry.kl_to_uniform(rows(*shape)).item() == pytest.approx(mi.matrix_kl(S, eye(d) / d).item())
        assert mi.effective_rank(S).item() == pytest.approx(d / geometry.kl_to_uniform(rows(*shape)).exp().item())


def test_nc1_is_0_for_collapsed_classes_and_the_pseudo_inverse_otherwise():
    y = torch.arange(3).repeat_interleave(4)
    assert geometry.nc1(rows(3, 7)[y], y).item() == pytest.approx(0, abs=1e-12)
    h = rows(12, 7)
    means = torch.stack([h[y == k].mean(0) for k in range(3)])
    within = (h - means[y]).T @ (h - means[y]) / 12
    between = (means - means.mean(0)).T @ (means - means.mean(0)) / 3
    expected = (within @ torch.linalg.pinv(between, rtol=1e-10)).trace() / 3
    assert geometry.nc1(h, y).item() == pytest.approx(expected.item())


def test_etf_distance_is_0_for_a_simplex_however_turned_and_moved():
    K, d = 5, 9
    turned = (eye(K) - 1 / K) @ torch.linalg.qr(rows(d, d)).Q[:K]
    y = torch.arange(K).repeat(2)
    assert geometry.etf_distance(3 * turned[y] + 1, y).item() == pytest.approx(0, abs=1e-12)
    on_a_line = torch.arange(K).double()[:, None][y]
    assert geometry.etf_distance(on_a_line, y) > 0.5


def test_alignment_is_0_for_equal_views_and_4_for_opposite_ones():
    z = rows(10, 4)
    assert view_measures.alignment(z, 2 * z).item() == pytest.approx(0, abs=1e-20)
    assert view_measures.alignment(z, -z).item() == pytest.approx(4)


def test_lidar_counts_directions_between_images_not_those_of_the_views():
    """Images differ in 3 directions, views in the other 5: 3, where the plain rank of all rows sees 8."""
    images = torch.cat([rows(4000, 1, 3), torch.zeros(4000, 1, 5)], 2).double()
    views = torch.cat([torch.zeros(4000, 6, 3), rows(4000, 6, 5, seed=1)], 2)
    between = view_measures.lidar(images + views)
    assert between.item() == pytest.approx(3, rel=0.01)


def test_lidar_forgives_what_varies_within_an_image():
    """A direction as noisy within images as between them counts less than one that is firm within them."""
    noise = torch.tensor([1e-3, 1e-3, 10.0]).double()
    views = rows(2000, 1, 3) + noise * rows(2000, 8, 3, seed=2)
    assert view_measures.lidar(views).item() == pytest.approx(2, rel=0.05)


def test_mutual_information_of_equal_orthonormal_views_is_their_entropy():
    gram = view_measures.gram(eye(5))
    entropy = mi.matrix_renyi_entropy(gram)
    assert entropy.item() == pytest.approx(math.log(5))
    assert view_measures.matrix_joint_entropy(gram, gram).item() == pytest.approx(math.log(5))
    assert view_measures.matrix_mutual_information(gram, gram).item() == pytest.approx(math.log(5))
    constant = view_measures.gram(torch.ones(5, 2).double())
    assert view_measures.matrix_mutual_information(gram, constant).item() == pytest.approx(0, abs=1e-9)
