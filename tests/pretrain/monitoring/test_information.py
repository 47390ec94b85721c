"""Entropies of embeddings: the theorems behind them, and the same numbers written out in numpy."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pretrain.losses import matrix_information as mi
from pretrain.monitoring.health import embedding_rank
from pretrain.monitoring.information import information

B, D = 24, 10


def pair(agreement: float = 0.7, seed: int = 0) -> list[torch.Tensor]:
    """Two views that share a part of what they show, wide along some axes and narrow along others."""
    generator = torch.Generator().manual_seed(seed)
    shared, *own = (torch.randn(B, D, generator=generator, dtype=torch.float64) for _ in range(3))
    return [(agreement * shared + (1 - agreement) * noise) * torch.linspace(0.2, 2, D) + 0.3 for noise in own]


def written_out(first: np.ndarray, second: np.ndarray, order: int) -> dict[str, float]:
    """The samples' and the features' side without torch: cosines, correlations, eigenvalues."""

    def entropy(A: np.ndarray) -> float:
        p = np.linalg.eigvalsh(A / len(A))
        p = p[p > 1e-12]
        return float(-(p * np.log(p)).sum() if order == 1 else np.log((p**order).sum()) / (1 - order))

    def cosines(z: np.ndarray) -> np.ndarray:
        return np.array([[a @ b / math.sqrt((a @ a) * (b @ b)) for b in z] for a in z])

    found = {}
    matrices = {"": [cosines(z) for z in (first, second)]}
    matrices["feature_"] = [np.corrcoef(z, rowvar=False) for z in (first, second)]
    ending = "" if order == 1 else f"_{order}"
    for side, (A1, A2) in matrices.items():
        found[f"{side}matrix_entropy{ending}"] = entropy(A1)
        found[f"{side}joint_entropy{ending}"] = entropy(A1 * A2)
        found[f"{side}mutual_information{ending}"] = entropy(A1) + entropy(A2) - entropy(A1 * A2)
    return found


def test_values_are_those_of_the_definitions_written_out_and_no_random_number_is_drawn():
    views, state = pair(), torch.get_rng_state()
    first, second = (view.numpy() for view in views)
    assert information(views, orders=(1, 2)) == pytest.approx(
        written_out(first, second, 1) | written_out(first, second, 2), abs=1e-9
    )
    assert torch.equal(state, torch.get_rng_state())
    assert information(views, orders=(1,))["matrix_entropy"] == pytest.approx(math.log(embedding_rank(views[0])))


@pytest.mark.parametrize("agreement", [0.0, 0.5, 0.95])
def test_joint_entropy_is_no_smaller_than_each_and_mutual_information_no_larger_than_the_smaller(agreement):
    views = pair(agreement)
    for gram, size in ((mi.sample_gram, B), (mi.feature_gram, D)):
        A1, A2 = map(gram, views)
        for order in (0.5, 1, 2, 5):
            each = [mi.matrix_renyi_entropy(A, order) for A in (A1, A2)]
            joint, mutual = mi.matrix_joint_entropy(A1, A2, order), mi.matrix_mutual_information(A1, A2, order)
            assert 0 < max(each) <= joint <= math.log(size) + 1e-9 and mutual <= min(each)
        assert mi.matrix_mutual_information(A1, A2) >= 0


@pytest.mark.parametrize("order", [1, 2])
def test_orthonormal_samples_have_log_n_independent_views_share_nothing_equal_partitions_everything(order):
    close = lambda found, wanted: torch.testing.assert_close(found, torch.tensor(wanted).double())  # noqa: E731
    close(mi.matrix_renyi_entropy(torch.eye(7).double(), order), math.log(7))
    row, column = (
        mi.sample_gram(F.one_hot(places).double()) for places in (torch.arange(20) // 5, torch.arange(20) % 5)
    )
    close(mi.matrix_joint_entropy(row, column, order), math.log(20))
    close(mi.matrix_mutual_information(row, column, order), 0.0)
    close(mi.matrix_mutual_information(row, row, order), math.log(4))
    close(mi.matrix_joint_entropy(row, row, order), math.log(4))


def test_at_order_2_mutual_information_can_be_negative_and_at_order_1_not():
    """Ten samples equal in one view and all different in the other, and ten the other way about."""
    equal, different = torch.zeros(10, dtype=torch.long), torch.arange(1, 11)
    A1, A2 = (
        mi.sample_gram(F.one_hot(torch.cat(places)).double()) for places in ([equal, different], [different, equal])
    )
    assert (
        mi.matrix_mutual_information(A1, A2, 2).item() == pytest.approx(math.log(400 * 20 / 110**2)) and 8000 < 110**2
    )
    assert mi.matrix_mutual_information(A1, A2, 1) > 0


def test_lengths_of_rows_a_rotation_and_the_order_of_samples_leave_the_samples_side_scales_and_shifts_the_features():
    views = pair()
    samples, features = (
        {k: v for k, v in information(views).items() if k.startswith("feature_") == of} for of in (0, 1)
    )

    def after(change) -> dict[str, float]:
        return information([change(view) for view in views])

    turn = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(3), dtype=torch.float64)).Q
    lengths, scales = torch.linspace(0.1, 9, B)[:, None], torch.linspace(0.1, 9, D)
    order = torch.randperm(B, generator=torch.Generator().manual_seed(4))
    for change in (lambda z: lengths * z, lambda z: z @ turn, lambda z: z[order]):
        assert after(change).items() >= {k: pytest.approx(v, abs=1e-9) for k, v in samples.items()}.items()
    for change in (lambda z: z * scales + 5, lambda z: z[order]):
        assert after(change).items() >= {k: pytest.approx(v, abs=1e-9) for k, v in features.items()}.items()
    other = information(views[::-1])
    for name in ("joint_entropy_2", "mutual_information_2", "feature_joint_entropy_2", "feature_mutual_information_2"):
        assert other[name] == pytest.approx(information(views)[name])


def test_one_view_has_entropies_alone_further_views_and_rows_are_not_looked_at():
    views = pair()
    both = information(views, most=8)
    assert set(information(views[:1])) == {"matrix_entropy_2", "feature_matrix_entropy_2"}
    assert information([*views, views[0] * torch.nan], most=8) == both
    assert information([view[:8] for view in views])["matrix_entropy_2"] == both["matrix_entropy_2"] <= math.log(8)


def test_collapse_has_no_entropy_and_a_feature_that_is_constant_counts_as_one_of_its_own():
    rows = torch.ones(B, 1, dtype=torch.float64) * torch.arange(1.0, 4)
    found = information([rows, rows])
    assert found["matrix_entropy_2"] == pytest.approx(0, abs=1e-12) == found["mutual_information_2"]
    assert found["feature_matrix_entropy_2"] == pytest.approx(math.log(3))
