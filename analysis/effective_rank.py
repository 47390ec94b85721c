"""How many directions a representation uses: within classes, between classes and in all (arXiv 2305.17326, appendix D).

    python analysis/effective_rank.py features.safetensors --out DIR

Every rank is given over covariance eigenvalues (``cov``, the papers' definition) and over singular values (``sv``,
about twice as large), by name. A rank cannot exceed the number of images less one, and reads off that number long
before it reaches it: every class gives the same n, n is printed, and a value that still grows with n is marked.
"""

import math
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.extraction import feature_file
from analysis.extraction.images import choose
from analysis.measures import result
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
from runtime.command_line import Parser, UserError, run

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
    """Standard errors of the ranks over ``cov``: images drawn anew within their class, for intra the classes anew.

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
    """Every metric of this file: ``values``, 95% ``intervals``, and ``warnings`` where n decides a value.

    An interval ends where a rank must.
    """
    values = {f"rank-total-{over}": entropy_rank(spectrum(h), over=over).item() for over in OVER}
    warnings = limited_by_n("rank-total-cov", values["rank-total-cov"], len(h), lambda n: total(h[some(len(h), n)]))
    if y is not None:
        spectra, n = class_spectra(h, y), len(h) // len(y.unique())
        values |= {f"rank-intra-{over}": entropy_rank(spectra, over=over).mean().item() for over in OVER}
        values |= {f"rank-inter-{over}": inter_class(h, y, over=over).item() for over in OVER}
        warnings += limited_by_n(
            "rank-intra-cov", values["rank-intra-cov"], n, lambda n: intra_of(h, y, n), of=" a class"
        )
    values["mce-512"] = batch_mce(h, seed=seed).item()
    centred = h - h.mean(0)
    values["spread"] = (centred.square().sum() / h.square().sum().clamp(min=torch.finfo(h.dtype).tiny)).item()
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
    return {"values": values, "intervals": intervals, "warnings": warnings}


def limited_by_n(name: str, rank: float, n: int, at: Callable[[int], Tensor], *, of: str = "") -> list[str]:
    """A line if a rank of n images is close to its bound n - 1, or grew by a tenth from n / 2 to n of them.

    ``at`` gives the rank of fewer images; ``of`` is what the n images are those of.
    """
    if rank > 0.5 * (n - 1):
        return [f"{name} {rank:.1f} is close to its bound n - 1 = {n - 1}: it reads off n; take more images{of}"]
    if n < 4:
        return []
    before = at(n // 2).item()
    if rank > 1.1 * before:
        return [f"{name} still grows with n: {before:.1f} at {n // 2} images{of}, {rank:.1f} at {n}"]
    return []


def some(count: int, n: int) -> Tensor:
    """``n`` of ``count`` places, always the same."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:n]


def intra_of(h: Tensor, y: Tensor, n: int) -> Tensor:
    """The intra-class rank of ``n`` images a class."""
    chosen = choose(y.tolist(), n, seed=0)
    return intra_class(h[chosen], y[chosen])


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description="Effective ranks of features, within classes, between them and in all.")
    parser.add_argument("features", type=Path, metavar="FEATURES", help="features.safetensors")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the analysis")
    parser.add_argument("--per-class", type=int, metavar="N", help="images of each class (default: the smallest class)")
    parser.add_argument("--resamples", type=int, default=50, help="of the bootstrap, 0 for none (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw, the batches and the bootstrap (default 0)")
    arguments = parser.parse_args(argv)
    if arguments.resamples < 0 or arguments.resamples == 1:
        raise UserError("--resamples must be 0 or at least 2")
    features = feature_file.read(arguments.features)
    h, y, n = equalised(features, arguments.per_class, seed=arguments.seed)
    found = measure(h, y, resamples=arguments.resamples, seed=arguments.seed)
    for name, value in found["values"].items():
        low, high = found["intervals"].get(name, (None, None))
        print(f"{name:16s} {value:10.4g}" + (f"   95% {low:.4g} to {high:.4g}" if low is not None else ""))
    print(f"n: {len(h)} images" + (f", {n} of each of {len(y.unique())} classes" if y is not None else ", no classes"))
    for line in found["warnings"]:
        print(f"warning: {line}")
    context = {"n_per_class": n, "resamples": arguments.resamples, "seed": arguments.seed}
    context |= {"intervals": found["intervals"], "warnings": found["warnings"]}
    result.write(arguments.out, "effective_rank", features, found["values"], n=len(h), **context)


def equalised(
    features: feature_file.Features, per_class: int | None, *, seed: int
) -> tuple[Tensor, Tensor | None, int]:
    """Rows and labels with the same number of images in every class, and that number; all rows where none has a class.

    Raises UserError for fewer than 2 images in a class, for one class, and for more images than the smallest class has.
    """
    if len(features.h) < 2:
        raise UserError(f"{features.about['path']} holds {len(features.h)} image; a rank needs at least 2")
    if (features.h == features.h[0]).all():
        raise UserError(f"{features.about['path']}: all images have the same features (collapse); nothing to measure")
    if (features.y < 0).all():
        if per_class:
            raise UserError(f"{features.about['path']} has no labels; leave out --per-class")
        return features.h, None, 0
    features.need_classes()
    smallest = int(features.y.unique(return_counts=True)[1].min())
    n = per_class or smallest
    if not 2 <= n <= smallest:
        raise UserError(f"--per-class must lie between 2 and the {smallest} images of the smallest class, got {n}")
    chosen = choose(features.y.tolist(), n, seed)
    return features.h[chosen], features.y[chosen], n


if __name__ == "__main__":
    run(main)
