"""How many directions a representation uses, with its standard error and whether n decides it (arXiv 2305.17326, D).

Letters: h (n, d) features in float64, y (n,) class numbers with as many images of every class.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.extraction.choice import choose
from pretrain.losses.class_ranks import (
    OVER,
    class_spectra,
    entropy_rank,
    inter_class,
    intra_class,
    per_class,
    spectrum,
    total,
)
from pretrain.losses.matrix_information import total_coding_rate

BATCH = 512  # appendix D.1


def batch_mce(h: Tensor, *, ridge: float | None = None, seed: int = 0) -> Tensor:
    """Mean over shuffled batches of 512 of MCE(I/d + ridge I, S + ridge I), S = Z^T Z / B of unit rows (D.1, eq. 8).

    A last batch that is not full is left out, since a smaller one has fewer directions; fewer than 512 are one batch.
    Least, at (1 + d ridge)(1 - log(1/d + ridge)), for rows spread evenly over all d directions. The paper does not
    print its ridge; here it is 1/d, the size of the eigenvalues aimed at. By eq. 9 as corrected in
    ``matrix_information``, from the smaller Gram matrix.
    """
    d = h.shape[1]
    ridge = 1 / d if ridge is None else ridge
    order = torch.randperm(len(h), generator=torch.Generator().manual_seed(seed))
    values = []
    order = order[: len(h) // BATCH * BATCH or None]
    for rows in F.normalize(h, dim=1)[order].split(BATCH):
        # d log det from B x B: total_coding_rate of the transpose, its D / (B eps^2) turned into 1 / (B ridge)
        B = len(rows)
        rate = total_coding_rate(rows.T, (ridge * B * B / d) ** 0.5)
        values.append((1 + d * ridge) * (1 - math.log(ridge) - 2 / d * rate))
    return torch.stack(values).mean()


def bootstrap(h: Tensor, y: Tensor | None, *, resamples: int, seed: int) -> dict[str, float]:
    """Standard errors of the ranks over ``cov``: images resampled within their class, for intra the classes.

    A resample repeats images and so has a lower rank than the sample: its spread is used, its mean is not.
    """
    generator = torch.Generator().manual_seed(seed)

    def spread(statistic: Callable[[], Tensor]) -> float:
        return torch.stack([statistic() for _ in range(resamples)]).std().item()

    def again(count: int, of: int) -> Tensor:
        return torch.randint(of, (count,), generator=generator)

    errors = {"rank-total-cov": spread(lambda: total(h[again(len(h), len(h))]))}
    if y is not None:
        rows, ranks = per_class(h, y), entropy_rank(class_spectra(h, y))
        K, n = rows.shape[:2]
        errors["rank-intra-cov"] = spread(lambda: ranks[again(K, K)].mean())
        drawn = lambda: torch.stack([one[again(n, n)].mean(0) for one in rows])  # noqa: E731
        errors["rank-inter-cov"] = spread(lambda: entropy_rank(spectrum(drawn())))
    return errors


def measure(h: Tensor, y: Tensor | None, *, resamples: int = 50, seed: int = 0) -> dict:
    """Every metric of this file: ``values``, 95% ``intervals``, ``warnings``, and which are ``limited`` by n.

    An interval ends where a rank must.
    """
    values = {f"rank-total-{over}": entropy_rank(spectrum(h), over=over).item() for over in OVER}
    limits = {}
    limits["rank-total-cov"] = limited_by_n(values["rank-total-cov"], len(h), lambda n: total(h[some(len(h), n)]))
    if y is not None:
        spectra, n = class_spectra(h, y), len(h) // len(y.unique())
        values |= {f"rank-intra-{over}": entropy_rank(spectra, over=over).mean().item() for over in OVER}
        values |= {f"rank-inter-{over}": inter_class(h, y, over=over).item() for over in OVER}
        limits["rank-intra-cov"] = limited_by_n(values["rank-intra-cov"], n, lambda n: intra_of(h, y, n), of=" a class")
    values["mce-512"] = batch_mce(h, seed=seed).item()
    centred = h - h.mean(0)
    values["spread"] = (centred.square().sum() / h.square().sum().clamp(min=torch.finfo(h.dtype).tiny)).item()
    limited = {name: why for name, why in limits.items() if why}
    warnings = [f"{name} {why}" for name, why in limited.items()]
    if values["spread"] < 1e-6:
        warnings.append(f"the features are all but equal (spread {values['spread']:.1e}): the ranks are those of noise")
    intervals = {}
    if resamples:
        errors = bootstrap(h, y, resamples=resamples, seed=seed)
        bounds = {"rank-total-cov": len(h) - 1}
        bounds |= {"rank-intra-cov": n - 1, "rank-inter-cov": len(h) // n - 1} if y is not None else {}
        for name, error in errors.items():
            low, high = values[name] - 1.96 * error, values[name] + 1.96 * error
            intervals[name] = [max(low, 1.0), min(high, float(min(bounds[name], h.shape[1])))]
    return {"values": values, "intervals": intervals, "warnings": warnings, "limited": sorted(limited)}


def limited_by_n(rank: float, n: int, at: Callable[[int], Tensor], *, of: str = "") -> str:
    """Why a rank of n images is decided by n: close to its bound n - 1, or grown by a tenth from n / 2 on; else empty.

    ``at`` gives the rank of fewer images; ``of`` is what the n images are those of.
    """
    if rank > 0.5 * (n - 1):
        return f"{rank:.1f} is close to its bound n - 1 = {n - 1}: it reads off n; take more images{of}"
    if n < 4:
        return ""
    before = at(n // 2).item()
    return f"still grows with n: {before:.1f} at {n // 2} images{of}, {rank:.1f} at {n}" if rank > 1.1 * before else ""


def some(count: int, n: int) -> Tensor:
    """``n`` of ``count`` indices, always the same."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:n]


def intra_of(h: Tensor, y: Tensor, n: int) -> Tensor:
    """The intra-class rank of ``n`` images a class."""
    chosen = choose(y.tolist(), n, seed=0)
    return intra_class(h[chosen], y[chosen])
