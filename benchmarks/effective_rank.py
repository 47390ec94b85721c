"""How fast the intra-class effective rank is against the plain eigen-decomposition of each class's covariance.

    python benchmarks/effective_rank.py                      100 classes of 100 images, 2048 features, float64

Both forms see the same features, drawn with a decaying spectrum; the largest difference over classes is printed, over
covariance eigenvalues and over singular values. The fast form takes the 100 x 100 Gram matrices, all classes at once.
"""

import argparse
import platform
import time

import torch
from torch import Tensor

from pretrain.losses.class_ranks import class_spectra, entropy_rank
from runtime.command_line import Parser, UserError, run
from runtime.progress import Progress
from runtime.provenance import commit


def plain(rows: Tensor, over: str) -> Tensor:
    """What the definition says, of one class (n, d): the entropy of all d eigenvalues, or of the singular values."""
    x = rows - rows.mean(0)
    s = torch.linalg.eigvalsh(x.T @ x / len(x)).clamp(min=0) if over == "cov" else torch.linalg.svdvals(x)
    p = s / s.sum()
    return torch.exp(-torch.special.xlogy(p, p).sum())


def drawn(K: int, n: int, d: int) -> tuple[Tensor, Tensor]:
    """Features (K n, d) of eigenvalues 1 / i in random directions, and their classes."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.arange(1, d + 1, dtype=torch.float64).rsqrt()
    h = torch.randn(K * n, d, generator=generator, dtype=torch.float64) * scale
    return h, torch.arange(K).repeat_interleave(n)


def timed(work) -> tuple[float, Tensor]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--images", type=int, default=100, help="of each class")
    parser.add_argument("--width", type=int, default=2048, help="features")
    parser.add_argument("--plain", type=int, help="classes the plain form is timed on (default: all)")
    parser.add_argument("--repeats", type=int, default=5, help="of the fast form; the least time counts")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    if min(arguments.classes, arguments.images, arguments.width, arguments.repeats, arguments.threads) < 1:
        raise UserError("sizes, repeats and threads must be at least 1")
    torch.set_num_threads(arguments.threads)
    h, y = drawn(arguments.classes, arguments.images, arguments.width)
    fast_s, spectra = min((timed(lambda: class_spectra(h, y)) for _ in range(arguments.repeats)), key=lambda t: t[0])
    count = min(arguments.plain or arguments.classes, arguments.classes)
    progress, plain_s, worst = Progress(count, "plain"), 0.0, {"cov": 0.0, "sv": 0.0}
    for i in range(count):
        seconds, value = timed(lambda i=i: plain(h[y == i], "cov"))
        plain_s += seconds
        values = {"cov": value, "sv": plain(h[y == i], "sv")}
        for over, expected in values.items():
            worst[over] = max(worst[over], (entropy_rank(spectra[i], over=over) - expected).abs().item())
        progress.update(i + 1)
    plain_s *= arguments.classes / count
    whole = "" if count == arguments.classes else f" (timed on {count} of them)"
    print(f"{arguments.classes} classes x {arguments.images} images x {arguments.width} features, float64")
    print(f"plain {plain_s:9.2f} s{whole}")
    print(f"fast  {fast_s:9.3f} s, {plain_s / fast_s:.0f} times as fast")
    print(f"largest difference of a class's rank: {worst['cov']:.1e} (cov), {worst['sv']:.1e} (sv)")
    print(f"{platform.machine()}, {arguments.threads} thread(s), torch {torch.__version__}, commit {commit()}")


if __name__ == "__main__":
    run(main)
