import math

import pytest
import torch

from pretrain.losses.class_ranks import (
    class_spectra,
    entropy_rank,
    inter_class,
    intra_class,
    per_class,
    spectrum,
    total,
)
from pretrain.losses.matrix_information import covariance, effective_rank


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def simplex(K: int) -> torch.Tensor:
    """K points of equal length and equal angles: the corners of a regular simplex in K dimensions."""
    return torch.eye(K, dtype=torch.float64) - 1 / K


@pytest.mark.parametrize(("n", "d"), [(7, 20), (20, 7), (12, 12)])
def test_eq7_both_sides_give_the_effective_rank_of_the_covariance(n, d):
    """Gram (n < d) or covariance (n > d): the value is that of the suite's own eq. 7 on the d x d covariance."""
    h = rows(n, d)
    assert total(h).item() == pytest.approx(effective_rank(covariance(h, h)).item(), abs=1e-10)
    assert total(h, over="sv").item() == pytest.approx(effective_rank(h - h.mean(0)).item(), abs=1e-10)


def test_eq20_is_1_for_classes_on_lines_and_the_mean_over_classes_otherwise():
    y = torch.arange(4).repeat_interleave(10)
    on_lines = rows(40, 1) * rows(4, 30, seed=1)[y]
    assert intra_class(on_lines, y).item() == pytest.approx(1, abs=1e-9)
    assert intra_class(on_lines, y, over="sv").item() == pytest.approx(1, abs=1e-9)
    h = rows(40, 30)
    each = [effective_rank(covariance(h[y == k], h[y == k])) for k in range(4)]
    shuffled = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    assert intra_class(h[shuffled], y[shuffled]).item() == pytest.approx(torch.stack(each).mean().item(), abs=1e-10)


def test_eq20_never_exceeds_the_images_of_a_class_less_one():
    """10 directions of equal strength, 5 images: the rank reads 4 at most, whatever the truth."""
    y = torch.arange(3).repeat_interleave(5)
    assert 3 < intra_class(rows(15, 1000), y) <= 4


def test_eq21_is_k_minus_1_for_class_means_on_a_simplex():
    y = torch.arange(5).repeat_interleave(2)
    h = simplex(5)[y] + torch.tensor([1.0, -1.0]).double().repeat(5)[:, None]  # pairs around each corner
    assert inter_class(h, y).item() == pytest.approx(4, abs=1e-10)
    assert inter_class(h, y, over="sv").item() == pytest.approx(4, abs=1e-10)


def test_isotropic_features_use_nearly_all_directions():
    assert total(rows(20_000, 16)).item() == pytest.approx(16, rel=1e-3)


def test_singular_values_give_the_larger_rank():
    """Eigenvalues 1, 1/4, 1/9...: the two definitions differ by far, and neither depends on the scale."""
    h = rows(500, 50) / torch.arange(1, 51)
    cov, sv = total(h).item(), total(h, over="sv").item()
    assert sv > 2 * cov
    assert total(1e-6 * h).item() == pytest.approx(cov)


def test_equal_rows_span_nothing():
    h = torch.ones(6, 3, dtype=torch.float64) * math.pi
    assert total(h) == 0 and intra_class(h, torch.tensor([0, 0, 0, 1, 1, 1])) == 0


def test_classes_of_different_size_are_not_compared():
    with pytest.raises(ValueError, match="classes have 1 to 2 rows"):
        per_class(rows(3, 2), torch.tensor([5, 5, 9]))


def test_chunks_do_not_change_the_spectra(monkeypatch):
    from pretrain.losses import class_ranks

    h, y = rows(30, 8), torch.arange(6).repeat(5)
    whole = class_spectra(h, y)
    monkeypatch.setattr(class_ranks, "CHUNK", 1)
    assert torch.allclose(class_spectra(h, y), whole)
    assert torch.allclose(spectrum(per_class(h, y)), whole)
    assert entropy_rank(whole).shape == (6,)
