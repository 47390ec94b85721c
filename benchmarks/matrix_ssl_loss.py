"""How fast the losses of Matrix-SSL and MEC are against their plain evaluation, forward and backward.

    python benchmarks/matrix_ssl_loss.py                     all three losses, D = 2048, two threads
    python benchmarks/matrix_ssl_loss.py --ranks 2           one rank alone against two that share the products
    python benchmarks/matrix_ssl_loss.py --device cuda

Plain means what the formula says: covariances of shape D x D (MEC's released code: products of shape B x B), the
powers of the logarithm one by one, one trace.
Both forms run in turns on the same features, the symmetric loss of both directions, and the least time of each counts.
Errors are relative, of the gradient, against float64.
"""

import argparse
import platform
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.shared_matmul import shared_matmul
from pretrain.methods.matrix_ssl import paper_terms, released_terms
from pretrain.methods.mec import coding_loss
from runtime.command_line import Parser, run
from runtime.provenance import commit


def mec_terms(online: Tensor, target: Tensor, *, matmul: Callable = torch.matmul) -> dict[str, Tensor]:
    """MEC's loss at lambda_inv = B eps^2 / D with its eps^2 of 64."""
    B, D = online.shape
    return {"coding_length": coding_loss(online, target, lambda_inv=B * 64 / D, matmul=matmul)}


VARIANTS = {"released": released_terms, "paper": paper_terms, "mec": mec_terms}


def plain(variant: str, online: Tensor, target: Tensor, order: int = 4) -> dict[str, Tensor]:
    """A loss of one direction, Matrix-SSL's with gamma 1 and ridge 1, as its formula says."""
    online, target = F.normalize(online, dim=1), F.normalize(target.detach(), dim=1)
    if variant == "mec":
        return {"coding_length": plain_coding_loss(online, target, order)}
    online, target = online - online.mean(0), target - target.mean(0)
    B, D = online.shape
    one = torch.eye(D, device=online.device, dtype=online.dtype)
    C11, C12, C22 = target.T @ target / B, target.T @ online / B, online.T @ online / B
    U = -plain_log(C12 + one, one, order).trace()
    A = -((C11 + one) @ plain_log(C22 + one, one, order)).trace()
    if variant == "released":
        return {"uniformity": U, "alignment": A}
    return {"uniformity": U / D + (C12 + one).trace(), "alignment": -C12.trace() + A + (C22 + one).trace()}


def plain_coding_loss(online: Tensor, target: Tensor, order: int) -> Tensor:
    B, D = online.shape
    lambda_inv = B * 64 / D
    one = torch.eye(B, device=online.device, dtype=online.dtype)
    return -lambda_inv / B * plain_log(one + online @ target.T / lambda_inv, one, order).trace()


def plain_log(A: Tensor, one: Tensor, order: int) -> Tensor:
    term = result = A - one
    for k in range(2, order + 1):
        term = term @ (A - one)
        result = result + (-1) ** (k + 1) / k * term
    return result


def terms_of(form: str, variant: str) -> Callable:
    """The function of (online, target) that evaluates a loss in the plain or the fast form."""
    return partial(plain, variant) if form == "plain" else VARIANTS[variant]


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


def timed(work: Callable, options: argparse.Namespace) -> float:
    """Seconds of one call, by the clock of the options."""
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    if options.device == "cuda":
        torch.cuda.synchronize()
    began = clock()
    work()
    if options.device == "cuda":
        torch.cuda.synchronize()
    return clock() - began


def peak_mib(form: str, variant: str, B: int, D: int, device: str) -> float:
    """MiB that one call needs at its peak beyond the features; to be called in a fresh process."""
    work = partial(gradients, terms_of(form, variant), random_features(B, D, device))
    gradients(terms_of(form, variant), random_features(8, 4, device))  # what libraries take once is not counted
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    before = memory_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak, VmHWM, starts anew
    work()
    return (memory_kib("VmHWM") - before) / 2**10


def memory_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


def compare(variant: str, B: int, options: argparse.Namespace) -> str:
    """One row of the table of the fast form against the plain one."""
    D, device = options.features, options.device
    features = random_features(B, D, device)
    work = {form: partial(gradients, terms_of(form, variant), features) for form in ("plain", "fast")}
    doubles = [x.detach().double().requires_grad_(x.requires_grad) for x in features]
    exact = gradients(terms_of("fast", variant), doubles)
    error = {form: ((call() - exact).norm() / exact.norm()).item() for form, call in work.items()}
    seconds = dict.fromkeys(work, float("inf"))
    for _ in range(options.repeats):
        for form, call in work.items():
            for _ in range(5 if form == "fast" else 1):
                seconds[form] = min(seconds[form], timed(call, options))
    with mp.get_context("spawn").Pool(1, maxtasksperchild=1) as fresh:
        peak = {form: fresh.apply(peak_mib, (form, variant, B, D, device)) for form in work}
    ratio = seconds["plain"] / seconds["fast"]
    return (
        f"| {variant} | {B} | {seconds['plain'] * 1e3:.0f} | {seconds['fast'] * 1e3:.1f} | {ratio:.1f} "
        f"| {error['plain']:.1e} | {error['fast']:.1e} | {peak['plain']:.0f} | {peak['fast']:.0f} |"
    )


def rank_times(rank: int, port: int, options: argparse.Namespace, rows: mp.Queue) -> None:
    """On each rank: the loss with shared products; on the first also alone. Rank 0 puts rows of the table."""
    torch.set_num_threads(options.threads)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=options.ranks)
    for variant in options.losses:
        for B in options.batches:
            features = random_features(B, options.features, "cpu")
            alone = shared = float("inf")
            for _ in range(options.repeats):
                if rank == 0:
                    alone = min(alone, timed(partial(gradients, VARIANTS[variant], features), options))
                dist.barrier()
                share = partial(VARIANTS[variant], matmul=shared_matmul)
                shared = min(shared, timed(partial(gradients, share, features), options))
            if rank == 0:
                rows.put(f"| {variant} | {B} | {alone * 1e3:.0f} | {shared * 1e3:.0f} | {alone / shared:.2f} |")
    dist.destroy_process_group()


def compare_ranks(options: argparse.Namespace) -> None:
    """The table of one rank alone against several."""
    print(f"| loss | B | one rank ms | {options.ranks} ranks ms | ratio |\n|---|---|---|---|---|")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = mp.get_context("spawn")
    rows = context.Queue()
    processes = [context.Process(target=rank_times, args=(r, port, options, rows)) for r in range(options.ranks)]
    for process in processes:
        process.start()
    for _ in options.losses:
        for _ in options.batches:
            print(rows.get(timeout=600), flush=True)
    for process in processes:
        process.join()


def hardware(device: str) -> str:
    """The name of the processor or GPU the numbers are from."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0].split(":")[1].strip() if names else platform.processor()


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", choices=VARIANTS, nargs="+", default=list(VARIANTS), help="all three")
    parser.add_argument("--batches", type=int, nargs="+", default=[256, 512, 1024, 2048, 4096], help="values of B")
    parser.add_argument("--features", type=int, default=2048, help="D")
    parser.add_argument("--repeats", type=int, default=3, help="rounds of which the fastest counts")
    parser.add_argument("--threads", type=int, help="threads of a process on the CPU; 2, or 1 with --ranks")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--clock",
        choices=["wall", "cpu"],
        default="wall",
        help="cpu: seconds of computing, which other work on a busy machine lengthens little; with --threads 1",
    )
    parser.add_argument("--ranks", type=int, default=1, help="compare one process with this many (gloo, CPU)")
    options = parser.parse_args(argv)
    options.threads = options.threads or (1 if options.ranks > 1 else 2)
    torch.set_num_threads(options.threads)
    print(f"{hardware(options.device)}, {options.threads} threads, torch {torch.__version__}, commit {commit()}")
    print(f"float32, D = {options.features}, order 4, both directions, forward + backward, {options.clock} time\n")
    if options.ranks > 1:
        compare_ranks(options)
        return
    print("| loss | B | plain ms | fast ms | ratio | plain error | fast error | plain peak MiB | fast peak MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for variant in options.losses:
        for B in options.batches:
            print(compare(variant, B, options), flush=True)


if __name__ == "__main__":
    run(main)
