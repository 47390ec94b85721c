"""How fast the matrix cross-entropy by Lanczos is against the eigen-decomposition, and what it adds to a training step.

    python benchmarks/matrix_cross_entropy.py [--tokens 512] [--vocabulary 8000] [--width 512] [--steps 8]

Value and gradient with respect to the logits, in one process, alternating, in time of the processor (on a GPU: of the
clock). Two distributions: peaked, as those of a trained model, and flat. Rows of the embedding table share a direction,
as those of a trained table do. Then a step of a Llama of that width, with and without it, and the peaks of memory.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from language.matrix_cross_entropy import matrix_cross_entropy

MIB = 1 << 20


def problem(tokens: int, vocabulary: int, width: int, *, peak: float) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, V) with ``peak`` added to the target's, targets (N,), embeddings (V, d)."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(vocabulary, width, generator=generator) + 0.9 * torch.randn(width, generator=generator)
    targets = torch.randint(vocabulary, (tokens,), generator=generator)
    logits = 2 * torch.randn(tokens, vocabulary, generator=generator)
    logits[torch.arange(tokens), targets] += peak
    return logits, targets, embeddings


def seconds(device: str) -> float:
    """Of the processor, or of the clock once the GPU is idle."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], tuple[Tensor, Tensor]], device: str) -> tuple[float, Tensor, Tensor]:
    """Seconds, loss (N,), gradient (N, V)."""
    begin = seconds(device)
    loss, logits = work()
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    return seconds(device) - begin, loss.detach(), gradient


def peak_mib(work: Callable[[], object], device: str) -> float:
    """Memory that ``work`` takes at most beyond what is there before it."""
    gc.collect()
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / MIB
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here (Linux)
    before = _status("VmRSS")
    work()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def losses(options: argparse.Namespace, name: str, peak: float) -> None:
    """Time, error and memory of every way to compute the loss."""
    device, few = options.device, slice(options.exact_tokens)
    made = problem(options.tokens, options.vocabulary, options.width, peak=peak)
    logits, targets, embeddings = (tensor.to(device) for tensor in made)

    def mce(part=slice(None), **settings):
        x = logits[part].clone().requires_grad_()
        return matrix_cross_entropy(x, targets[part], embeddings, **settings), x

    def plain():
        x = logits.clone().requires_grad_()
        return F.cross_entropy(x, targets, reduction="none"), x

    variants = {
        "exact": lambda: mce(few, method="exact", chunk=1),
        f"lanczos, {options.steps} steps": lambda: mce(steps=options.steps),
        f"  to {options.tolerance:g}": lambda: mce(steps=options.steps, tolerance=options.tolerance),
        "top_r, 64": lambda: mce(method="top_r", steps=64),
        "cross-entropy": plain,
    }
    runs = {key: [] for key in variants}
    for _ in range(options.rounds):
        for key, work in variants.items():
            runs[key].append(timed(work, device))
    reference, cost = runs["exact"][0], {}
    for key, timings in runs.items():
        tokens = options.exact_tokens if key == "exact" else options.tokens
        cost[key] = 1000 * statistics.median(spent for spent, _, _ in timings) / tokens
        line = f"{name:7} {key:18} {cost[key]:9.3f} ms  {cost['exact'] / cost[key]:7.0f}x"
        line += f"  peak {peak_mib(variants[key], device):6.0f} MiB"
        if key != "cross-entropy":
            _, loss, gradient = timings[0]
            value = ((loss[few] - reference[1]).abs() / reference[1]).max()
            slope = (gradient[few] - reference[2]).norm() / reference[2].norm()
            line += f"  error of the value {value:.1e}, of the gradient {slope:.1e} (relative)"
        print(line, flush=True)


def training_step(options: argparse.Namespace) -> None:
    """Forward and backward of a Llama of four layers with either loss, a target at every token."""
    from transformers import LlamaConfig, LlamaForCausalLM

    size, width = options.vocabulary, options.width
    torch.manual_seed(0)
    shape = {"num_hidden_layers": 4, "num_attention_heads": 8, "intermediate_size": 3 * width}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=size, hidden_size=width, **shape)).to(options.device)
    tokens = torch.randint(size, (max(1, options.tokens // 128), 128), device=options.device)

    def step(weight: float):
        model.zero_grad()
        logits = model(input_ids=tokens).logits[:, :-1].flatten(0, 1)
        loss = F.cross_entropy(logits, tokens[:, 1:].flatten())
        if weight:
            rows = model.get_output_embeddings().weight
            loss = (
                loss + weight * matrix_cross_entropy(logits, tokens[:, 1:].flatten(), rows, steps=options.steps).mean()
            )
        loss.backward()

    spent: dict[float, list[float]] = {0.0: [], 1.0: []}
    for _ in range(options.rounds + 1):  # the first is to warm up
        for weight, times in spent.items():
            begin = seconds(options.device)
            step(weight)
            times.append(seconds(options.device) - begin)
    without, beside = (statistics.median(times[1:]) for times in spent.values())
    peaks = [peak_mib(lambda weight=weight: step(weight), options.device) for weight in spent]
    print(
        f"a step of a Llama, 4 layers, {tokens.numel()} tokens: {without:.2f} s with cross-entropy, {beside:.2f} s with"
    )
    print(f"both ({100 * (beside / without - 1):.0f} % more); peak {peaks[0]:.0f} and {peaks[1]:.0f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (("tokens", 512), ("exact-tokens", 2), ("vocabulary", 8000), ("width", 512), ("steps", 8)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--tolerance", type=float, default=1e-4, help="of the rows that stop at their bounds")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these is shown")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda")
    options = parser.parse_args()
    where = f"{torch.get_num_threads()} threads" if options.device == "cpu" else torch.cuda.get_device_name()
    print(f"V {options.vocabulary}, d {options.width}, {where}; per token:")
    for name, peak in (("peaked", 14.0), ("flat", 0.0)):
        losses(options, name, peak)
    training_step(options)


if __name__ == "__main__":
    main()
