"""How fast the matrix cross-entropy by Lanczos is against the eigen-decomposition, and beside plain cross-entropy.

    python benchmarks/matrix_cross_entropy.py [--tokens 64] [--vocabulary 8000] [--width 512] [--steps 8]

Value and gradient with respect to the logits, in one process, alternating. Two distributions: peaked, as those of
a trained model, and flat. Rows of the embedding table share a direction, as those of a trained table do.
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from language.matrix_cross_entropy import matrix_cross_entropy


def problem(tokens: int, vocabulary: int, width: int, *, peak: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, V) with ``peak`` added to the target's, targets (N,), embeddings (V, d)."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(vocabulary, width, generator=generator) + 0.9 * torch.randn(width, generator=generator)
    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    logits = 2 * torch.randn(tokens, vocabulary, generator=generator)
    logits[torch.arange(tokens), targets] += peak
    return logits, targets, embeddings


def timed(work) -> tuple[float, Tensor, Tensor]:
    """Seconds, loss (N,), gradient (N, V)."""
    begin = time.perf_counter()
    loss, logits = work()
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    return time.perf_counter() - begin, loss.detach(), gradient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("tokens", 64), ("exact-tokens", 2), ("vocabulary", 8000), ("width", 512), ("steps", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--rounds", type=int, default=3, help="the median of these is shown")
    options = parser.parse_args()
    print(f"V {options.vocabulary}, d {options.width}, {torch.get_num_threads()} threads; milliseconds a token")
    for name, peak in (("peaked", 14.0), ("flat", 0.0)):
        logits, targets, embeddings = problem(options.tokens, options.vocabulary, options.width, peak=peak)
        few = slice(options.exact_tokens)

        def fresh(part=slice(None), logits=logits):
            return logits[part].clone().requires_grad_()

        def exact(targets=targets, embeddings=embeddings, few=few):
            x = fresh(few)
            return matrix_cross_entropy(x, targets[few], embeddings, method="exact", chunk=1), x

        def lanczos(targets=targets, embeddings=embeddings):
            x = fresh()
            return matrix_cross_entropy(x, targets, embeddings, steps=options.steps), x

        def top_r(targets=targets, embeddings=embeddings):
            x = fresh()
            return matrix_cross_entropy(x, targets, embeddings, method="top_r", steps=64), x

        def plain(targets=targets):
            x = fresh()
            return F.cross_entropy(x, targets, reduction="none"), x

        variants = {
            "exact": exact,
            f"lanczos, {options.steps} steps": lanczos,
            "top_r, 64": top_r,
            "cross-entropy": plain,
        }
        runs = {key: [timed(work) for _ in range(options.rounds)] for key, work in variants.items()}
        reference = runs["exact"][0]
        cost = {}
        for key, timings in runs.items():
            tokens = options.exact_tokens if key == "exact" else options.tokens
            cost[key] = 1000 * statistics.median(seconds for seconds, _, _ in timings) / tokens
            line = f"{name:7} {key:18} {cost[key]:9.2f}  {cost['exact'] / cost[key]:7.0f}x"
            if key != "cross-entropy":
                _, loss, gradient = timings[0]
                value = ((loss[few] - reference[1]).abs() / reference[1]).max()
                slope = (gradient[few] - reference[2]).norm() / reference[2].norm()
                line += f"  error of the value {value:.1e}, of the gradient {slope:.1e} (relative)"
            print(line)


if __name__ == "__main__":
    main()
