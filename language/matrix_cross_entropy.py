"""Matrix cross-entropy between a target token and a predicted distribution over tokens, arXiv 2305.17326, eq. 16.

Tokens are unit vectors: rows e_j of the embedding table, normalised. A prediction q is the density matrix

    Q = (1 - eps) sum_j q_j e_j e_j^T + (eps / d) I          (d, d), trace 1

and the loss of the target y is L = -e_y^T log(Q) e_y. Orthonormal rows give the cross-entropy -log q_y up to eps; in
general L <= -log((1 - eps) q_y), because the logarithm is operator monotone: mass on tokens whose vectors are near the
target's is partly forgiven. The mixture with I / d keeps the trace and bounds the loss, 0 <= L <= log(d / eps); the
paper names neither the mixture nor its weight.

Every method finds an orthonormal basis W (m, d) of a space in which Q has the eigenvalues theta and the target the
coordinates c = W e_y; then, with z_j = W e_j and the divided differences F of the logarithm,

    L          = -sum_a c_a^2 log theta_a
    dL / dq_j  = -(1 - eps) z_j^T G z_j,                     G = (c c^T) o F          (m, m)
    dL / de_j  = -2 (1 - eps) q_j W^T G z_j  [-2 W^T (c log theta) for j = y]

so the gradient costs no second pass, and repeated eigenvalues do no harm (autograd through an eigen-decomposition gives
NaN there).
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from runtime.command_line import UserError, one_of

Method = Literal["exact", "lanczos", "top_r"]
METHODS = ("exact", "lanczos", "top_r")
IGNORED = -100

AT_A_TIME = 64
"""Tokens whose gradient is made at a time: it holds as many numbers as their products with the embeddings."""


class Bounds(NamedTuple):
    """What `matrix_cross_entropy` returns with ``bounds=True``; of the method lanczos, loss <= exact loss <= upper."""

    loss: Tensor
    """(N,)"""
    upper: Tensor
    """(N,), without gradient; equal to the loss for the other methods."""


def matrix_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    embeddings: Tensor,
    *,
    eps: float = 1e-2,
    method: Method = "lanczos",
    steps: int = 8,
    tolerance: float = 0.0,
    center: bool = False,
    detach_embeddings: bool = True,
    chunk: int = 512,
    bounds: bool = False,
) -> Tensor | Bounds:
    """The matrix cross-entropy of each token in nats, (N,); 0 where the target is -100.

    Computed in float32, or in float64 where the logits are that.

    Args:
        logits: (N, V), of any floating type.
        targets: (N,), numbers of tokens; -100 is left out.
        embeddings: (V, d), one row a token; they are normalised here.
        eps: weight of I / d in Q, in (0, 1). It bounds the condition of Q: the smaller, the more steps are needed.
        method: "exact" by eigen-decomposition, d^3 a token; "lanczos", ``steps`` products with the embeddings a token;
            "top_r", the target and the ``steps`` likeliest tokens, with the mass of all others spread evenly.
        steps: of Lanczos, at most d; or the number of tokens of top_r.
        tolerance: of Lanczos: a token is done before all steps once its bounds differ by at most this share of the
            loss, which is then wrong by less; 0: all steps. Peaked predictions need two or three.
        center: take the mean row off the embeddings first. The paper does not; in a trained table the mean carries
            about half of the second moment.
        detach_embeddings: no gradient to the embeddings.
        chunk: tokens computed at a time; bounds the memory, chunk x steps x V numbers.
        bounds: also return an upper bound of the exact loss (Gauss-Radau quadrature with a node at eps / d).

    Raises UserError for an eps outside (0, 1), steps outside 1 to d (of top_r: to V), a tolerance outside [0, 1), and a
    method that is not known.
    """
    _check(embeddings, eps=eps, method=method, steps=steps, tolerance=tolerance)
    rows = embeddings.detach() if detach_embeddings else embeddings
    rows = rows.to(torch.float64 if logits.dtype == torch.float64 else torch.float32)
    rows = F.normalize(rows - rows.mean(0) if center else rows, dim=1)
    options = _Options(eps, steps, tolerance, bounds)
    loss, upper = _MatrixCrossEntropy.apply(logits, targets, rows, method, options, chunk)
    return Bounds(loss, upper) if bounds else loss


def _check(embeddings: Tensor, *, eps: float, method: str, steps: int, tolerance: float) -> None:
    one_of("method of the matrix cross-entropy", method, METHODS)
    if not 0 < eps < 1:
        raise UserError(f"eps must be between 0 and 1, got {eps}")
    if not 0 <= tolerance < 1:
        raise UserError(f"tolerance must be at least 0 and below 1, got {tolerance}")
    size, name = (embeddings.shape[1], "width") if method == "lanczos" else (len(embeddings), "number of tokens")
    if method != "exact" and not 1 <= steps <= size:
        raise UserError(f"steps must be from 1 to the {name} of the embeddings, {size}, got {steps}")


class _Options(NamedTuple):
    """What the methods take beside tensors; see `matrix_cross_entropy`."""

    eps: float
    steps: int
    tolerance: float
    bounds: bool


class _Spectrum(NamedTuple):
    """Q of each of c tokens, on a space of m dimensions that holds the target and that Q leaves (nearly) to itself."""

    basis: Tensor
    """(c, m, d), orthonormal rows: W."""
    eigenvalues: Tensor
    """(c, m), above 0: theta."""
    target: Tensor
    """(c, m), coordinates of the target: W e_y."""
    upper: Tensor | None = None
    """(c,), an upper bound of the loss."""
    products: Tensor | None = None
    """(c, m, V), coordinates of all tokens in another basis, where the method has them anyway; W e_j is ``rotation``
    (c, m, m) times these."""
    rotation: Tensor | None = None
    tokens: Tensor | None = None
    """(c, r), the tokens that are told apart; None: all. The others spread their mass evenly."""

    @property
    def loss(self) -> Tensor:
        return -(self.target.square() * self.eigenvalues.log()).sum(1)

    @property
    def gap(self) -> Tensor:
        """(c,): how much the loss may be too small; 0 where there is no upper bound."""
        return torch.zeros_like(self.loss) if self.upper is None else self.upper - self.loss

    @property
    def derivative(self) -> Tensor:
        """(c, m, m): G, with dL = -trace(W^T G W dQ)."""
        return self.target[:, :, None] * self.target[:, None, :] * divided_differences(self.eigenvalues)

    def of(self, tokens: Tensor | slice) -> "_Spectrum":
        """The same of some of the tokens."""
        return self._make(None if part is None else part[tokens] for part in self)


def divided_differences(x: Tensor) -> Tensor:
    """(log x_a - log x_b) / (x_a - x_b) of (..., m) positive numbers, 1 / x where they are equal; (..., m, m)."""
    total = x[..., :, None] + x[..., None, :]
    ratio = (x[..., :, None] - x[..., None, :]) / total
    near = ratio.abs() < 1e-3
    square = ratio.square()
    series = 1 + square / 3 + square.square() / 5  # of atanh(ratio) / ratio: the difference of near logarithms cancels
    safe = torch.where(near, 0.5, ratio)
    return 2 * torch.where(near, series, torch.atanh(safe.clamp(-1 + 1e-7, 1 - 1e-7)) / safe) / total


def _exact(q: Tensor, y: Tensor, rows: Tensor, options: _Options) -> Iterator[tuple[Tensor, _Spectrum]]:
    """By the eigen-decomposition of Q."""
    eps, d = options.eps, rows.shape[1]
    matrix = (1 - eps) * (rows.T * q[:, None, :]) @ rows
    matrix = matrix + eps / d * torch.eye(d, dtype=rows.dtype, device=rows.device)
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    basis = vectors.mT
    target = torch.einsum("cmd,cd->cm", basis, rows[y])
    yield _all(q), _Spectrum(basis, eigenvalues.clamp(min=eps / d), target)


def _lanczos(q: Tensor, y: Tensor, rows: Tensor, options: _Options) -> Iterator[tuple[Tensor, _Spectrum]]:
    """On the Krylov space of the target, with re-orthogonalisation; a token is left out from when its bounds meet.

    A step multiplies with the embeddings twice; the last one does so once, unless ``bounds`` needs what comes after it.
    """
    (count, size), (eps, steps, tolerance, bounds) = q.shape, options
    floor = eps / rows.shape[1]
    tiny = 100 * torch.finfo(rows.dtype).eps
    there, vector = _all(q), rows[y]
    basis, products = q.new_empty(count, steps, rows.shape[1]), q.new_empty(steps, count, size)
    weighted = torch.empty_like(q)  # one place for all steps: new memory costs as much as what is written there
    alphas, betas = q.new_zeros(count, steps), q.new_zeros(count, steps)
    for k in range(steps):
        basis[:, k] = vector
        product = torch.mm(vector, rows.T, out=products[k, : len(there)])
        torch.mul(q, product, out=weighted[: len(there)])
        alive = vector.square().sum(1) > 0.5
        alpha = (1 - eps) * torch.linalg.vecdot(weighted[: len(there)], product) + floor
        alphas[:, k] = torch.where(alive, alpha, 1.0)
        if k == steps - 1 and not bounds:
            break
        image = torch.addmm((floor - alpha)[:, None] * vector, weighted[: len(there)], rows, alpha=1 - eps)
        so_far = basis[:, : k + 1]
        for _ in range(2):  # once leaves what rounding has brought in
            image = image - ((so_far @ image[:, :, None]).mT @ so_far)[:, 0]
        norm = image.norm(dim=1)
        goes_on = norm > tiny  # else the space is closed: the target lies in a few eigenvectors
        betas[:, k] = torch.where(goes_on, norm, 0.0)
        vector = torch.where(goes_on[:, None], image / norm.clamp(min=tiny)[:, None], 0.0)
        if not tolerance or k == steps - 1:
            continue
        spectrum = _projected(alphas[:, : k + 1], betas[:, : k + 1], so_far, floor, bounds=True)
        done = spectrum.gap <= tolerance * spectrum.loss
        if done.any():
            yield there[done], spectrum._replace(products=products[: k + 1, : len(there)].transpose(0, 1)).of(done)
            left = ~done
            for product in products[: k + 1]:
                product[: int(left.sum())] = product[: len(there)][left]
            there, q, vector, basis, alphas, betas = (each[left] for each in (there, q, vector, basis, alphas, betas))
        if not len(there):
            return
    spectrum = _projected(alphas, betas, basis, floor, bounds=bounds)
    yield there, spectrum._replace(products=products[:, : len(there)].transpose(0, 1))


def _projected(alphas: Tensor, betas: Tensor, basis: Tensor, floor: float, *, bounds: bool) -> _Spectrum:
    """Of Q on the Krylov space of (c, k, d) vectors; there it is tridiagonal, the last beta leads out of it."""
    matrix = torch.diag_embed(alphas) + torch.diag_embed(betas[:, :-1], 1) + torch.diag_embed(betas[:, :-1], -1)
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    return _Spectrum(
        vectors.mT @ basis,
        eigenvalues.clamp(min=floor),
        target=vectors[:, 0] * basis[:, 0].norm(dim=1)[:, None],
        upper=_radau(matrix, eigenvalues, vectors, betas[:, -1], floor) if bounds else None,
        rotation=vectors.mT,
    )


def _radau(matrix: Tensor, eigenvalues: Tensor, vectors: Tensor, beta: Tensor, node: float) -> Tensor:
    """The loss by Gauss-Radau quadrature: one more row gives the tridiagonal matrix the eigenvalue ``node``.

    An upper bound, because the derivatives of the logarithm alternate in sign and ``node`` lies below the spectrum.
    """
    gaps = (eigenvalues - node).clamp(min=node * torch.finfo(matrix.dtype).eps)
    extended = F.pad(matrix, (0, 1, 0, 1))
    extended[:, -1, -1] = node + beta.square() * (vectors[:, -1].square() / gaps).sum(1)
    extended[:, -1, -2] = extended[:, -2, -1] = beta
    eigenvalues, vectors = torch.linalg.eigh(extended)
    return -(vectors[:, 0].square() * eigenvalues.clamp(min=node).log()).sum(1)


def _top_r(q: Tensor, y: Tensor, rows: Tensor, options: _Options) -> Iterator[tuple[Tensor, _Spectrum]]:
    """On the span of the target and the likeliest tokens; on its complement Q is a multiple of the identity."""
    eps, d = options.eps, rows.shape[1]
    likeliest = q.scatter(1, y[:, None], 2.0).topk(min(options.steps + 1, q.shape[1])).indices  # the target among them
    mass = q.gather(1, likeliest)
    vectors = rows[likeliest]
    rest = (eps + (1 - eps) * (1 - mass.sum(1)).clamp(min=0)) / d
    basis = torch.linalg.svd(vectors, full_matrices=False).Vh  # orthonormal also where the rows are not independent
    inside = torch.einsum("cmd,crd->cmr", basis, vectors)
    matrix = (1 - eps) * torch.einsum("cmr,cr,cnr->cmn", inside, mass, inside)
    eigenvalues, rotation = torch.linalg.eigh(matrix + torch.diag_embed(rest[:, None].expand(-1, matrix.shape[1])))
    basis = torch.einsum("cnm,cnd->cmd", rotation, basis)
    target = torch.einsum("cmd,cd->cm", basis, rows[y])
    eigenvalues = torch.maximum(eigenvalues, rest[:, None])
    yield _all(q), _Spectrum(basis, eigenvalues, target, tokens=likeliest)


def _all(q: Tensor) -> Tensor:
    return torch.arange(len(q), device=q.device)


SPECTRA = {"exact": _exact, "lanczos": _lanczos, "top_r": _top_r}
"""Of (q, y, rows, options): yields numbers of tokens and their spectrum, until every token of q has come."""


class _MatrixCrossEntropy(torch.autograd.Function):
    """The loss of every token and the upper bound; the gradient with respect to the logits is made on the way."""

    @staticmethod
    def forward(ctx, logits, targets, rows, method, options, chunk):  # noqa: D102 (see the class)
        loss = torch.zeros(len(logits), dtype=rows.dtype, device=logits.device)
        upper = torch.zeros_like(loss)
        wanted = ctx.needs_input_grad
        to_logits = torch.zeros_like(logits) if wanted[0] else None
        spectra: list[tuple[Tensor, _Spectrum]] = []
        for part in (targets != IGNORED).nonzero()[:, 0].split(chunk):
            q = logits[part].to(rows.dtype).softmax(1)
            for some, spectrum in SPECTRA[method](q, targets[part], rows, options):
                tokens = part[some]
                loss[tokens] = own = spectrum.loss
                upper[tokens] = own if spectrum.upper is None else torch.maximum(spectrum.upper, own)
                if to_logits is not None:
                    for start in range(0, len(some), AT_A_TIME):
                        few = slice(start, start + AT_A_TIME)
                        mass = q[some[few]]
                        slope = _slope(spectrum.of(few), rows, options.eps)
                        mean = torch.linalg.vecdot(mass, slope)[:, None]
                        to_logits[tokens[few]] = slope.sub_(mean).mul_(mass).to(logits.dtype)
                if wanted[2]:
                    spectra.append((tokens, spectrum._replace(products=None)))
        ctx.eps, ctx.spectra = options.eps, spectra
        ctx.save_for_backward(to_logits, logits if wanted[2] else None, targets if wanted[2] else None, rows)
        ctx.mark_non_differentiable(upper)
        return loss, upper

    @staticmethod
    @once_differentiable
    def backward(ctx, grad, _):  # noqa: D102
        to_logits, logits, targets, rows = ctx.saved_tensors
        to_rows = None
        if ctx.needs_input_grad[2]:
            to_rows = torch.zeros_like(rows)
            for part, spectrum in ctx.spectra:
                q = logits[part].to(rows.dtype).softmax(1)
                _add_to_rows(to_rows, spectrum, q, targets[part], rows, ctx.eps, grad[part])
        if to_logits is not None:
            to_logits = to_logits * grad[:, None].to(to_logits.dtype)
        return to_logits, None, to_rows, None, None, None


def _slope(spectrum: _Spectrum, rows: Tensor, eps: float) -> Tensor:
    """(c, V): dL / dq_j of every token, each q_j on its own."""
    if spectrum.products is not None:
        # The logarithm is operator monotone, so G has a square root.
        values, vectors = torch.linalg.eigh(spectrum.derivative)
        root = values.clamp(min=0).sqrt()[:, :, None] * vectors.mT
        return -(1 - eps) * (root @ spectrum.rotation @ spectrum.products).square_().sum(1)
    derivative = spectrum.derivative
    if spectrum.tokens is None:
        pulled = rows @ (spectrum.basis.mT @ derivative @ spectrum.basis)
        return -(1 - eps) * torch.linalg.vecdot(pulled, rows.expand_as(pulled))
    even = derivative.diagonal(dim1=1, dim2=2).sum(1) / rows.shape[1]
    inside = torch.einsum("cmd,crd->cmr", spectrum.basis, rows[spectrum.tokens])
    slope = even[:, None].expand(-1, len(rows)).scatter(1, spectrum.tokens, (inside * (derivative @ inside)).sum(1))
    return -(1 - eps) * slope


def _add_to_rows(to_rows: Tensor, spectrum: _Spectrum, q, y, rows: Tensor, eps: float, grad: Tensor) -> None:
    """Add grad dL / de_j of every token to ``to_rows`` (V, d)."""
    pulled = torch.einsum("cmn,cnd->cmd", spectrum.derivative, spectrum.basis)  # G W
    at_target = -2 * torch.einsum("cm,cmd->cd", spectrum.target * spectrum.eigenvalues.log(), spectrum.basis)
    to_rows.index_add_(0, y, grad[:, None] * at_target)
    if spectrum.tokens is None:
        inside = spectrum.basis @ rows.T
        weight = (-2 * (1 - eps) * grad)[:, None] * q
        to_rows += torch.einsum("cv,cmv,cmd->vd", weight, inside, pulled)
        return
    inside = torch.einsum("cmd,crd->cmr", spectrum.basis, rows[spectrum.tokens])
    weight = (-2 * (1 - eps) * grad)[:, None] * q.gather(1, spectrum.tokens)
    each = torch.einsum("cr,cmr,cmd->crd", weight, inside, pulled)
    to_rows.index_add_(0, spectrum.tokens.flatten(), each.flatten(0, 1))
