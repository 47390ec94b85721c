"""How fast the Matrix-SSL loss is against its plain D x D evaluation, forward and backward.

    python benchmarks/matrix_ssl_loss.py                     both losses, D = 2048, two threads
    python benchmarks/matrix_ssl_loss.py --ranks 2           one rank alone against two that share the products
    python benchmarks/matrix_ssl_loss.py --device cuda

Plain means what the formula says: covariances of shape D x D, the powers of the logarithm one by one, one trace.
Both forms run in turns on the same features, the symmetric loss of both directions, and the least time of each counts.
"""

import argparse
import platform
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.command_line import Parser, run
from pretrain.methods.matrix_ssl import paper_terms, released_terms
from pretrain.provenance import commit

FORMS = {"released": released_terms, "paper": paper_terms}


def plain(variant: str, online: Tensor, target: Tensor, order: int = 4) -> dict[str, Tensor]:
    """The released or the paper's loss of one direction with gamma 1 and ridge 1, as its formula says."""
    online, target = F.normalize(online, dim=1), F.normalize(target.detach(), dim=1)
    online, target = online - online.mean(0), target - target.mean(0)
    B, D = online.shape
    I = torch.eye(D, device=online.device, dtype=online.dtype)  # noqa: E741 the identity is called I
    C11, C12, C22 = target.T @ target / B, target.T @ online / B, online.T @ online / B
    U = -plain_log(C12 + I, I, order).trace()
    A = -((C11 + I) @ plain_log(C22 + I, I, order)).trace()
    if variant == "released":
        return {"uniformity": U, "alignment": A}
    return {"uniformity": U / D + (C12 + I).trace(), "alignment": -C12.trace() + A + (C22 + I).trace()}


def plain_log(A: Tensor, I: Tensor, order: int) -> Tensor:  # noqa: E741
    term = result = A - I
    for k in range(2, order + 1):
        term = term @ (A - I)
        result = result + (-1) ** (k + 1) / k * term
    return result


def gradients(terms: Callable, features: list[Tensor]) -> Tensor:
    """Forward and backward of the symmetric loss; the gradients of both online outputs, (2, B, D)."""
    z1, z2, p1, p2 = features
    z1.grad = z2.grad = None
    loss = (sum(terms(z1, p2).values()) + sum(terms(z2, p1).values())) / 2
    loss.backward()
    return torch.stack([z1.grad, z2.grad])


def random_features(B: int, D: int, device: str, seed: int = 0) -> list[Tensor]:
    """Outputs z1, z2, p1, p2 of two branches that agree in part, as in training."""
    draw = torch.Generator().manual_seed(seed)
    common = torch.randn(B, D, generator=draw)
    features = [(common + torch.randn(B, D, generator=draw)).to(device) for _ in range(4)]
    return [features[0].requires_grad_(), features[1].requires_grad_(), *features[2:]]


def timed(work: Callable, device: str) -> float:
    """Seconds of one call."""
    if device == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def peak_mib(work: Callable, device: str) -> float:
    """MiB that one call needs at its peak, beyond what was there before."""
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    status, page = Path("/proc/self/status"), resource.getpagesize() / 2**20
    before = int(Path("/proc/self/statm").read_text().split()[1]) * page
    Path("/proc/self/clear_refs").write_text("5")  # Linux: start the peak anew
    work()
    peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 2**10 - before


def compare(variant: str, B: int, options: argparse.Namespace) -> str:
    """One row of the table."""
    features = random_features(B, options.features, options.device)
    forms = {"fast": FORMS[variant], "plain": partial(plain, variant)}
    results = {name: gradients(form, features) for name, form in forms.items()}
    error = ((results["fast"] - results["plain"]).norm() / results["plain"].norm()).item()
    seconds = dict.fromkeys(forms, float("inf"))
    for _ in range(options.repeats):
        for name, form in forms.items():
            for _ in range(5 if name == "fast" and options.features > B else 1):
                seconds[name] = min(seconds[name], timed(partial(gradients, form, features), options.device))
    peak = {name: peak_mib(partial(gradients, form, features), options.device) for name, form in forms.items()}
    return (
        f"| {variant} | {B} | {seconds['plain'] * 1e3:.1f} | {seconds['fast'] * 1e3:.2f} "
        f"| {seconds['plain'] / seconds['fast']:.1f} | {error:.1e} | {peak['plain']:.0f} | {peak['fast']:.0f} |"
    )


def hardware(device: str) -> str:
    """The name of the processor or GPU the numbers are from."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.processor()


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096], help="values of B")
    parser.add_argument("--features", type=int, default=2048, help="D")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of which the fastest counts")
    parser.add_argument("--threads", type=int, default=2, help="threads of a process on the CPU")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    print(f"{hardware(options.device)}, {options.threads} threads, torch {torch.__version__}, commit {commit()}")
    print(f"float32, D = {options.features}, order 4, both directions, forward + backward\n")
    print("| loss | B | plain ms | fast ms | ratio | gradient error | plain peak MiB | fast peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for variant in FORMS:
        for B in options.batches:
            print(compare(variant, B, options), flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    run(main)
