from functools import partial

import pytest
import torch
import torch.nn.functional as F

from pretrain.losses.shared_matmul import shared_matmul
from pretrain.methods.spectral_contrastive import spectral_terms

close = partial(torch.testing.assert_close, rtol=1e-9, atol=1e-9)


def views(B: int = 6, D: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Two views that agree in part; some rows are longer than sqrt(10), others shorter."""
    common, one, two = torch.randn(3, B, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lengths = torch.linspace(0.3, 3, B, dtype=torch.float64)[:, None]
    return ((common + one) * lengths).requires_grad_(), ((common + two) * lengths).requires_grad_()


def plain(z1, z2, mu):
    """Pair by pair, as arXiv 2106.04156 and the released models/spectral.py have it."""
    if mu is not None:
        z1, z2 = (
            torch.stack([z if z.norm() < mu**0.5 else F.normalize(z, dim=0) * mu**0.5 for z in x]) for x in (z1, z2)
        )
    B = len(z1)
    same = sum(z1[i] @ z2[i] for i in range(B)) / B
    other = sum((z1[i] @ z2[j]) ** 2 for i in range(B) for j in range(B) if i != j) / (B * (B - 1))
    return {"alignment": -2 * same / (mu or 1), "uniformity": other / (mu or 1)}


@pytest.mark.parametrize("mu", [None, 1.0, 10.0])
def test_is_the_loss_pair_by_pair(mu):
    z1, z2 = views()
    found, expected = spectral_terms(z1, z2, mu=mu), plain(z1, z2, mu)
    for key in expected:
        close(found[key], expected[key])
    close(torch.autograd.grad(sum(found.values()), [z1, z2]), torch.autograd.grad(sum(expected.values()), [z1, z2]))


def test_is_least_where_the_embeddings_of_a_sample_are_its_own_and_orthogonal_to_all_others():
    """B orthogonal rows of length sqrt(mu): every positive pair gives -2, every other 0."""
    z = 10**0.5 * torch.eye(4, dtype=torch.float64)
    assert sum(spectral_terms(z, z, mu=10.0).values()).item() == pytest.approx(-2)
    assert sum(spectral_terms(5 * z, z, mu=10.0).values()).item() == pytest.approx(-2)  # longer: shortened


def shared(z1, z2):
    terms = spectral_terms(z1.requires_grad_(), z2.requires_grad_(), mu=10.0, matmul=shared_matmul)
    sum(terms.values()).backward()
    return {key: value.detach() for key, value in terms.items()}, z1.grad, z2.grad


def test_ranks_that_share_the_product_get_the_results_of_one(ranks):
    z1, z2 = (z.detach() for z in views())
    for found in ranks(2, shared, z1, z2):
        close(found, shared(z1.clone(), z2.clone()))
