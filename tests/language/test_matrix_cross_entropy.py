"""The loss against its definition in float64, its bounds, and the cases in which it is another loss."""

import pytest
import torch
import torch.nn.functional as F

from language.matrix_cross_entropy import divided_differences, matrix_cross_entropy
from runtime.command_line import UserError

V, D, N = 40, 12, 6


def problem(*, seed: int = 0, sharpness: float = 3.0, shared: float = 1.0):
    """Logits, targets (one left out) and embeddings with a common direction, as in a trained table."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    targets = torch.randint(V, (N,), generator=generator)
    targets[2] = -100
    return sharpness * normal(N, V), targets, normal(V, D) + shared * normal(D)


def plain(logits, targets, embeddings, *, eps=1e-2, center=False):
    """The definition, by autograd through one eigen-decomposition a token."""
    rows = F.normalize(embeddings - embeddings.mean(0) if center else embeddings, dim=1)
    losses = []
    for logit, y in zip(logits, targets.tolist(), strict=True):
        if y == -100:
            losses.append(torch.zeros((), dtype=logits.dtype))
            continue
        q = logit.softmax(0)
        matrix = (1 - eps) * (rows.T * q) @ rows + eps / D * torch.eye(D, dtype=logits.dtype)
        values, vectors = torch.linalg.eigh(matrix)
        losses.append(-((vectors.T @ rows[y]) ** 2 * values.log()).sum())
    return torch.stack(losses)


def gradients(loss_of, logits, targets, embeddings, **options):
    logits, embeddings = logits.clone().requires_grad_(), embeddings.clone().requires_grad_()
    loss = loss_of(logits, targets, embeddings, **options)
    weights = torch.linspace(0.5, 1.5, N, dtype=torch.float64)
    return loss.detach(), *torch.autograd.grad((weights * loss).sum(), (logits, embeddings))


@pytest.mark.parametrize("center", [False, True])
@pytest.mark.parametrize("method, steps", [("exact", 1), ("lanczos", D), ("top_r", V)])
def test_values_and_gradients_are_those_of_the_definition(method, steps, center):
    expected = gradients(plain, *problem(), center=center)
    options = {"method": method, "steps": steps, "center": center, "detach_embeddings": False, "chunk": 4}
    for found, wanted in zip(gradients(matrix_cross_entropy, *problem(), **options), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("eps", [1e-2, 1e-4])
@pytest.mark.parametrize("sharpness", [0.5, 3.0, 10.0])
def test_lanczos_bounds_the_exact_loss_from_both_sides_and_improves_with_every_step(eps, sharpness):
    logits, targets, embeddings = problem(sharpness=sharpness)
    exact = matrix_cross_entropy(logits, targets, embeddings, eps=eps, method="exact")
    before = torch.zeros(N, dtype=torch.float64)
    for steps in range(1, D + 1):
        lower, upper = matrix_cross_entropy(logits, targets, embeddings, eps=eps, steps=steps, bounds=True)
        assert (before - 1e-9 <= lower).all() and (lower <= exact + 1e-9).all() and (exact <= upper + 1e-9).all()
        before = lower
    torch.testing.assert_close(upper, exact)


@pytest.mark.parametrize("tolerance", [1e-1, 1e-2, 1e-4])
def test_a_token_stops_within_the_tolerance_at_the_step_that_its_bounds_give(tolerance):
    """Sure and unsure predictions in one chunk; each token has value and gradients of the step at which it stops."""
    logits, targets, embeddings = problem()
    logits = logits * torch.linspace(0.2, 4, N, dtype=torch.float64)[:, None]
    exact = matrix_cross_entropy(logits, targets, embeddings, method="exact")
    loss, upper = matrix_cross_entropy(logits, targets, embeddings, steps=D, tolerance=tolerance, bounds=True)
    assert (loss <= exact + 1e-9).all() and (exact <= upper + 1e-9).all() and (upper <= loss * (1 + tolerance)).all()
    stops = []
    for steps in range(1, D + 1):
        lower, above = matrix_cross_entropy(logits, targets, embeddings, steps=steps, bounds=True)
        stops.append(above - lower <= tolerance * lower)
    wanted = torch.stack(stops).int().argmax(0) + 1
    assert len(wanted.unique()) > 2
    options = {"detach_embeddings": False}
    found = gradients(matrix_cross_entropy, logits, targets, embeddings, steps=D, tolerance=tolerance, **options)
    to_rows = torch.zeros_like(embeddings)
    for token, steps in enumerate(wanted.tolist()):
        alone = torch.where(torch.arange(N) == token, targets, -100)
        value, slope, rows = gradients(matrix_cross_entropy, logits, alone, embeddings, steps=steps, **options)
        torch.testing.assert_close(found[0][token], value[token])
        torch.testing.assert_close(found[1][token], slope[token])
        to_rows += rows
    torch.testing.assert_close(found[2], to_rows)


def test_the_last_product_is_made_for_the_upper_bound_alone():
    logits, targets, embeddings = problem()
    loss, *slopes = gradients(matrix_cross_entropy, logits, targets, embeddings, detach_embeddings=False, steps=5)

    def with_bounds(*arguments, **options):
        return matrix_cross_entropy(*arguments, bounds=True, **options).loss

    again, *others = gradients(with_bounds, logits, targets, embeddings, detach_embeddings=False, steps=5)
    assert torch.equal(loss, again) and all(map(torch.equal, slopes, others))


def test_orthonormal_rows_give_the_cross_entropy():
    logits, targets, _ = problem()
    loss = matrix_cross_entropy(logits[:, :D], targets % D, torch.eye(D, dtype=torch.float64), eps=1e-12)
    torch.testing.assert_close(loss, F.cross_entropy(logits[:, :D], targets % D, reduction="none"))


def test_the_loss_is_at_most_the_cross_entropy_and_at_most_log_d_over_eps():
    logits, targets, embeddings = problem(sharpness=8)
    exact = matrix_cross_entropy(logits, targets, embeddings, eps=1e-9, method="exact")
    assert (exact <= F.cross_entropy(logits, targets, reduction="none") + 1e-6).all()
    loss = matrix_cross_entropy(1000 * logits, targets, embeddings, method="exact")
    assert (loss <= torch.tensor(D / 1e-2).log() + 1e-9).all()


def test_a_target_that_is_an_eigenvector_closes_the_space():
    rows = torch.eye(D, dtype=torch.float64)
    loss = matrix_cross_entropy(torch.zeros(1, D, dtype=torch.float64), torch.tensor([3]), rows, steps=8)
    torch.testing.assert_close(loss, torch.tensor([D], dtype=torch.float64).log())


@pytest.mark.parametrize("method", ["exact", "lanczos", "top_r"])
def test_a_target_whose_probability_underflows_has_a_finite_loss_and_gradient(method):
    logits = torch.zeros(1, V)
    logits[0, 5] = -1000.0
    logits.requires_grad_()
    loss = matrix_cross_entropy(logits, torch.tensor([5]), problem()[2].float(), method=method)
    loss.sum().backward()
    assert loss.isfinite().all() and loss > 0 and logits.grad.isfinite().all()


@pytest.mark.parametrize("method", ["exact", "lanczos", "top_r"])
def test_chunks_change_nothing(method):
    whole, parts = (matrix_cross_entropy(*problem(), method=method, chunk=chunk) for chunk in (N, 2))
    torch.testing.assert_close(whole, parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions_are_computed_in_float32(dtype):
    logits, targets, embeddings = problem()
    logits = logits.to(dtype).requires_grad_()
    loss = matrix_cross_entropy(logits, targets, embeddings.to(dtype))
    loss.sum().backward()
    expected = plain(logits.detach().double(), targets, embeddings.to(dtype).double())
    assert loss.dtype == torch.float32 and logits.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), expected, rtol=1e-3, atol=1e-3)


def test_targets_left_out_have_no_loss_and_no_gradient():
    loss, to_logits, _ = gradients(matrix_cross_entropy, *problem(), detach_embeddings=False)
    assert loss[2] == 0 and not to_logits[2].any() and to_logits[[0, 1, 3, 4, 5]].abs().sum(1).all()


def test_permuted_rows_keep_the_spectrum_and_lose_the_meaning():
    """Of a flat prediction Q does not depend on which row is whose; of a sharp one it does."""
    logits, targets, embeddings = problem(sharpness=6)
    keep = targets != -100
    order = torch.randperm(V, generator=torch.Generator().manual_seed(1))
    flat = torch.zeros_like(logits)
    own, other = (
        matrix_cross_entropy(flat, targets, rows, method="exact")[keep] for rows in (embeddings, embeddings[order])
    )
    moved = torch.argsort(order)[targets.clamp(min=0)]
    again = matrix_cross_entropy(flat, moved, embeddings[order], method="exact")[keep]
    torch.testing.assert_close(own, again)
    assert not torch.allclose(own, other)


def test_divided_differences_of_equal_and_near_numbers():
    x = torch.tensor([2.0, 2.0, 2.0 + 1e-9, 2.002, 1e-6], dtype=torch.float64)
    found = divided_differences(x)
    assert found[0, 1] == 0.5 and abs(found[0, 2] - 0.5) < 1e-9
    for a, b in ((0, 3), (0, 4), (3, 4)):
        torch.testing.assert_close(found[a, b], (x[a].log() - x[b].log()) / (x[a] - x[b]))


@pytest.mark.parametrize(
    "options, words",
    [
        ({"eps": 0.0}, "eps"),
        ({"eps": 1.0}, "eps"),
        ({"steps": D + 1}, "steps"),
        ({"tolerance": 1.0}, "tolerance"),
        ({"method": "lancsoz"}, "known: exact, lanczos, top_r"),
    ],
)
def test_settings_that_cannot_be_are_named(options, words):
    with pytest.raises(UserError, match=words):
        matrix_cross_entropy(*problem(), **options)
