"""Weighted k-nearest-neighbour classification on frozen features.

    python transfer/knn.py --weights backbone.pth --data DIR --benchmark imagenet --out OUT

DIR holds train/CLASS/IMAGE and val/CLASS/IMAGE. Features are the backbone's 2048 pooled outputs, of unit length; a
validation image is given the class with the largest sum of exp(cosine / T) over its k nearest training images
(Wu et al., arXiv 1805.01978, section 3.4; k = 20 and T = 0.07 as in the DINO evaluation, arXiv 2104.14294).
--weights random is the untrained network of a seed. It has no batch statistics yet, so they are measured on training
images, as they are for a detector trained from scratch (--bn-statistics initial leaves mean 0 and variance 1).
"""

import time
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import v2

from pretrain import backbone, checkpoint, distributed
from pretrain.command_line import Parser, UserError, run
from pretrain.data import image_paths
from pretrain.files import sha256
from pretrain.progress import Progress
from pretrain.provenance import commit
from pretrain.views import normalise
from transfer import results
from transfer.results import Record


class LabelledFolder(Dataset):
    """DIR/CLASS/IMAGE -> (uint8 (3, size, size), label); short side to ``resize`` pixels, then a centre crop."""

    def __init__(self, root: Path, *, size: int, resize: int):
        self.paths = image_paths(root)
        self.classes = sorted({path.relative_to(root).parts[0] for path in self.paths})
        self.labels = [self.classes.index(path.relative_to(root).parts[0]) for path in self.paths]
        self.prepare = v2.Compose([v2.Resize(resize, antialias=True), v2.CenterCrop(size), v2.PILToTensor()])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        try:
            with Image.open(self.paths[index]) as image:
                return self.prepare(image.convert("RGB")), self.labels[index]
        except OSError as error:
            raise UserError(f"{self.paths[index]} cannot be read; an evaluation set must be whole") from error


def network_of(weights: str, seed: int) -> tuple[nn.Module, dict]:
    """The backbone in eval mode and what is known of it; UserError for a file that is no ResNet-50 of this suite."""
    if weights == "random":
        about = {"method": "random", "recipe": "", "epochs": 0, "weights_sha256": ""}
        return backbone.random_resnet50(seed).eval(), about
    content = checkpoint.read_backbone(weights)
    network = backbone.resnet50(stem=content["config"]["backbone"]["stem"])
    try:
        network.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise UserError(f"{weights} is not a ResNet-50: {' '.join(str(error).split())[:200]}") from error
    about = {key: content[key] for key in ("method", "recipe", "epochs")}
    return network.eval(), {**about, "weights_sha256": sha256(weights)}


@torch.no_grad()
def measure_statistics(
    network: nn.Module, images: Dataset, *, seed: int, device: torch.device, batches: int = 10
) -> None:
    """Set every batch norm to the mean statistics of ``batches`` random batches of 100 images, as PreciseBN does."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain average instead of a moving one
    count = min(len(images), 100 * batches)
    count -= count % 100 == 1  # a batch of one has no variance
    if count < 2:
        raise UserError(f"batch statistics need at least 2 training images, found {len(images)}")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]
    network.train()
    for batch, _ in DataLoader(Subset(images, order.tolist()), batch_size=100):
        network(normalise(batch.to(device)))
    network.eval()


@torch.inference_mode()
def features(network: nn.Module, images: Dataset, *, device: torch.device, workers: int) -> tuple[Tensor, Tensor]:
    """Unit features (n, 2048) and labels (n,) of every image, in order."""
    loader = DataLoader(images, batch_size=100, num_workers=workers)
    progress, rows, labels = Progress(len(images), "features"), [], []
    for batch, targets in loader:
        inputs = normalise(batch.to(device)).contiguous(memory_format=torch.channels_last)
        rows.append(F.normalize(network(inputs), dim=1))
        labels.append(targets.to(device))
        progress.update(sum(map(len, rows)))
    return torch.cat(rows), torch.cat(labels)


def accuracy(train: Tensor, train_labels: Tensor, val: Tensor, val_labels: Tensor, *, k: int, temperature: float):
    """Share of validation rows whose class wins the weighted vote of their ``k`` nearest training rows.

    Rows are of unit length, (n, D); exact, in chunks that bound the memory for similarities.
    """
    classes = int(max(train_labels.max(), val_labels.max())) + 1
    right = 0
    for rows, labels in zip(val.split(256), val_labels.split(256), strict=True):
        similarity, nearest = (rows @ train.T).topk(k, dim=1)
        votes = torch.zeros(len(rows), classes, device=rows.device)
        votes.scatter_add_(1, train_labels[nearest], (similarity / temperature).exp())
        right += (votes.argmax(1) == labels).sum().item()
    return right / len(val)


def main(argv: list[str] | None = None) -> None:
    parser = Parser(description="Classify images by their nearest neighbours among frozen features.")
    parser.add_argument("--weights", required=True, metavar="W", help="a backbone.pth, or random")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds train/CLASS/ and val/CLASS/")
    parser.add_argument("--benchmark", required=True, metavar="B", help="name of the data set in tables")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for result.json")
    parser.add_argument("--k", type=int, default=20, help="neighbours that vote (default %(default)s)")
    parser.add_argument("--temperature", type=float, default=0.07, help="T of exp(cosine / T) (default %(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side of the centre crop, pixels (default %(default)s)")
    parser.add_argument("--resize", type=int, help="short side before the crop, pixels (default size * 8 / 7)")
    parser.add_argument(
        "--bn-statistics",
        choices=["stored", "measured", "initial"],
        help="of batch norm: stored (default for a file), measured on training images (default for random), initial",
    )
    parser.add_argument("--workers", type=int, default=2, help="loader processes (default %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--seed", type=int, default=0, help="of the untrained network, and recorded (default 0)")
    arguments = parser.parse_args(argv)
    path, began = arguments.out / "result.json", time.monotonic()
    settings = {key: str(value) for key, value in vars(arguments).items() if key not in ("out", "workers", "device")}
    if path.exists():
        if results.context(path).get("settings") != settings:
            raise UserError(f"{path} is of other settings; choose another --out")
        print(f"done already: {path}")
        return
    network, about = network_of(arguments.weights, arguments.seed)
    resize = arguments.resize or round(arguments.size * 8 / 7)
    train, val = (
        LabelledFolder(arguments.data / split, size=arguments.size, resize=resize) for split in ("train", "val")
    )
    if train.classes != val.classes:
        odd = sorted(set(train.classes) ^ set(val.classes))
        raise UserError(f"{arguments.data}: train and val must hold the same classes; {odd[0]!r} is only in one")
    if not 1 <= arguments.k <= len(train):
        raise UserError(f"--k must lie between 1 and the {len(train)} training images, got {arguments.k}")
    device = distributed.init(arguments.device)
    network = network.to(device, memory_format=torch.channels_last)
    statistics = arguments.bn_statistics or ("measured" if arguments.weights == "random" else "stored")
    if statistics in (("stored",) if arguments.weights == "random" else ("initial",)):
        raise UserError(f"--bn-statistics {statistics} does not go with --weights {arguments.weights}")
    if statistics == "measured":
        measure_statistics(network, train, seed=arguments.seed, device=device)
    known = [features(network, part, device=device, workers=arguments.workers) for part in (train, val)]
    top1 = accuracy(*known[0], *known[1], k=arguments.k, temperature=arguments.temperature)
    protocol = f"knn-{arguments.k}"
    about |= {"benchmark": arguments.benchmark, "protocol": protocol, "seed": arguments.seed, "commit": commit()}
    record = Record(task="classification", metric="top1", value=100 * top1, n=len(val), **about)
    results.write(
        path, [record], settings=settings, bn_statistics=statistics, wall_s=round(time.monotonic() - began, 1)
    )
    print(f"{protocol}: {record.value:.1f}% of {len(val)} images ({path})")


if __name__ == "__main__":
    run(main)
