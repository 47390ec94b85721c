"""A training step of this suite against a plain loop like the official ones, and how many operations each starts.

    python benchmarks/step.py                         four methods, ResNet-50, views of 64 pixels, one thread
    python benchmarks/step.py --methods simclr --precision bf16 --rounds 5 method.views_at_once=true

Both have the same network and batch, and SGD. The plain loop takes views that are normalised already, keeps torch's
usual memory layout, evaluates the loss as its formula says and reads it at each step. They run in turns in one process,
and what counts is CPU time: the median over rounds of plain over suite. Operations are what torch dispatches but for
views of a tensor; on a GPU nearly each is the launch of a kernel.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from pretrain import training_loop
from pretrain.config import TrainConfig, resolve
from pretrain.data import datasets, views
from pretrain.monitoring.late_reads import LossCheck
from pretrain.optimisation import optimizers
from runtime.command_line import Parser, run
from runtime.precision import autocast
from runtime.provenance import commit

CPU = torch.device("cpu")
Step = Callable[[], None]


class Operations(TorchDispatchMode):
    """Counts operations that compute something."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        views = any(r.alias_info and not r.alias_info.is_write for r in function._schema.returns)
        name = function.overloadpacket.__name__
        self.count += function.namespace == "aten" and not views and not name.startswith(("empty", "new_empty"))
        return function(*args, **(kwargs or {}))


def suite_step(name: str, settings: TrainConfig, batch: datasets.Batch) -> Step:
    """As `pretrain.training_loop.train` does it."""
    network, check = training_loop.build(name, settings, CPU), LossCheck()
    optimizer = optimizers.build(network, settings.optim)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        optimizers.set_lr(optimizer, 0.01, peak=0.01)
        embeddings = training_loop.embed(network, batch, settings, CPU, labelled=False)
        terms = network.loss_terms(embeddings)  # pyright: ignore[reportCallIssue]
        check.note(terms, steps)
        optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()  # pyright: ignore[reportAttributeAccessIssue]
        optimizer.step()
        network.after_step(steps / 1000)  # pyright: ignore[reportCallIssue]

    return step


def plain_step(name: str, settings: TrainConfig, images: list[Tensor]) -> Step:
    """A loop as the official ones are written."""
    network = PLAIN[name](settings.method)
    learning = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, 0.01, momentum=0.9, weight_decay=1e-4)

    def step() -> None:
        with autocast(settings.precision, CPU):
            embeddings = network(images)
        loss = network.loss(*(z.float() for z in embeddings))  # pyright: ignore[reportCallIssue]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def mlp(*widths: int, norm: bool = True, last_norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), *([nn.BatchNorm1d(after)] if norm else []), nn.ReLU(inplace=True)]
    layers = layers[: -2 if norm else -1]
    return nn.Sequential(*layers, *([nn.BatchNorm1d(widths[-1], affine=False)] if last_norm else []))


class Plain(nn.Module):
    """torchvision's ResNet-50 with a head, and a teacher where a method has one."""

    def __init__(self, head: nn.Module, *, teacher: bool = False):
        super().__init__()
        trunk = torchvision.models.resnet50()
        trunk.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self.student = nn.Sequential(trunk, head)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False) if teacher else None

    def follow(self, momentum: float) -> None:
        assert self.teacher is not None
        for mine, its in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            mine.data = mine.data * momentum + its.data * (1 - momentum)


class PlainSimclr(Plain):
    def __init__(self, config):
        super().__init__(mlp(2048, config.projector_width, config.output_width, norm=False))
        self.at_once = config.views_at_once

    def forward(self, images):
        return self.student(torch.cat(images)).chunk(2) if self.at_once else [self.student(x) for x in images]

    def loss(self, z1, z2):
        z = F.normalize(torch.cat([z1, z2]), dim=1)
        itself = torch.eye(len(z), dtype=torch.bool)
        similarity = (z @ z.T / 0.1).masked_fill(itself, -1e9)
        return F.cross_entropy(similarity, torch.arange(len(z)).roll(len(z1)))


class PlainBarlow(Plain):
    def __init__(self, config):
        super().__init__(mlp(2048, *[config.projector_width] * config.layers))
        self.norm = nn.BatchNorm1d(config.projector_width, affine=False)

    def forward(self, images):
        return [self.student(x) for x in images]

    def loss(self, z1, z2):
        c = self.norm(z1).T @ self.norm(z2) / len(z1)
        on = (torch.diagonal(c) - 1).pow(2).sum()
        off = (c - torch.diag(torch.diagonal(c))).pow(2).sum()
        return on + 0.0051 * off


class PlainMoco(Plain):
    queue: Tensor

    def __init__(self, config):
        super().__init__(mlp(2048, config.projector_width, config.output_width, norm=False), teacher=True)
        self.register_buffer("queue", F.normalize(torch.randn(config.output_width, config.queue_size), dim=0))
        self.at = 0

    def forward(self, images):
        q = self.student(images[0])
        with torch.no_grad():
            self.follow(0.999)
            order = torch.randperm(len(q))
            k = self.teacher(images[1][order])[order.argsort()]  # pyright: ignore[reportOptionalCall]
        return q, k

    def loss(self, q, k):
        q, k = F.normalize(q, dim=1), F.normalize(k, dim=1)
        positive, negative = torch.einsum("nc,nc->n", q, k)[:, None], torch.einsum("nc,ck->nk", q, self.queue.clone())
        logits = torch.cat([positive, negative], dim=1)
        self.queue[:, self.at : self.at + len(k)] = k.T
        self.at = (self.at + len(k)) % self.queue.shape[1]
        return F.cross_entropy(logits / 0.2, torch.zeros(len(q), dtype=torch.long))


class PlainMatrixSsl(Plain):
    def __init__(self, config):
        width = config.projector_width
        super().__init__(mlp(2048, *[width] * 3, last_norm=True), teacher=True)
        self.predictor = mlp(width, config.predictor_width, width)

    def forward(self, images):
        online = [self.predictor(self.student(x)) for x in images]
        with torch.no_grad():
            self.follow(0.996)
            target = [self.teacher(x) for x in images]  # pyright: ignore[reportOptionalCall]
        return *online, *target

    def loss(self, p1, p2, z1, z2):
        return (self.one_way(p1, z2) + self.one_way(p2, z1)) / 2

    def one_way(self, online, target):
        online, target = F.normalize(online, dim=1), F.normalize(target, dim=1)
        online, target = online - online.mean(0), target - target.mean(0)
        one = torch.eye(online.shape[1])
        c11, c12, c22 = (a.T @ b / len(a) for a, b in ((target, target), (target, online), (online, online)))
        return -self.log(c12 + one).trace() - ((c11 + one) @ self.log(c22 + one)).trace()

    def log(self, matrix, order=4):
        power = step = matrix - torch.eye(len(matrix))
        total = power
        for n in range(2, order + 1):
            power = power @ step
            total = total + (-1) ** (n + 1) * power / n
        return total


PLAIN = {"matrix_ssl": PlainMatrixSsl, "simclr": PlainSimclr, "moco_v2": PlainMoco, "barlow_twins": PlainBarlow}
SMALL = {"matrix_ssl": ["projector_width=512", "predictor_width=512"], "barlow_twins": ["projector_width=2048"]}


def compare(name: str, settings: TrainConfig, rounds: int) -> str:
    """One row of the table."""
    size, b = settings.views.size, settings.batch_size
    generator = torch.Generator().manual_seed(0)
    shape = (b, size, size, 3)
    pixels = [torch.randint(256, shape, generator=generator, dtype=torch.uint8).permute(0, 3, 1, 2) for _ in range(2)]
    images = [views.normalise(x).contiguous() for x in pixels]
    batch = datasets.Batch(pixels, torch.zeros(b, dtype=torch.long), [])
    steps = {"suite": suite_step(name, settings, batch), "plain": plain_step(name, settings, images)}
    counts, times = {}, {key: [] for key in steps}
    for step in steps.values():
        step()  # warms up, and makes the optimiser's state
    for key, step in steps.items():
        with Operations() as operations:
            step()
        counts[key] = operations.count
    for _ in range(rounds):
        for key, step in steps.items():
            began = time.process_time()
            step()
            times[key].append(time.process_time() - began)
    ratios = [plain / suite for suite, plain in zip(times["suite"], times["plain"], strict=True)]
    suite, plain = (statistics.median(times[key]) for key in ("suite", "plain"))
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    return f"| {name} | {suite:.2f} | {plain:.2f} | {spread} | {counts['suite']} | {counts['plain']} |"


def parser() -> Parser:
    made = Parser(prog="step.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--methods", nargs="+", choices=sorted(PLAIN), default=list(PLAIN))
    made.add_argument("--size", type=int, default=64, help="side of a view (default %(default)s)")
    made.add_argument("--batch", type=int, default=16, help="images (default %(default)s)")
    made.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    made.add_argument("--rounds", type=int, default=5)
    made.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of all methods, as method.views_at_once=true")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_intermixed_args(argv)
    torch.set_num_threads(1)
    print(
        f"commit {commit()}, torch {torch.__version__}, {arguments.batch} images of {arguments.size} pixels, "
        f"{arguments.precision}, {arguments.rounds} rounds, one thread\n"
    )
    print("| method | suite, CPU s | plain, CPU s | plain / suite (range) | operations | of the plain loop |")
    print("|---|---|---|---|---|---|")
    for name in arguments.methods:
        pairs = [f"batch_size={arguments.batch}", f"views.size={arguments.size}", f"precision={arguments.precision}"]
        pairs += ["optim.name=sgd", *(f"method.{pair}" for pair in SMALL.get(name, []))]
        pairs += ["method.bn_groups=1"] if name == "moco_v2" else []
        settings = resolve(name, "imagenet-100ep", [*pairs, *arguments.settings])
        print(compare(name, settings, arguments.rounds), flush=True)
    return 0


if __name__ == "__main__":
    run(main)
