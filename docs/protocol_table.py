"""Writes the tables of docs/protocols.md anew from transfer/protocols/*.yaml and transfer/datasets/benchmarks.py."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from detectron2.config import CfgNode  # noqa: E402

from transfer.datasets import benchmarks  # noqa: E402
from transfer.datasets.layouts import LAYOUTS  # noqa: E402
from transfer.detection import network, protocol, run_config  # noqa: E402

PAGE = ROOT / "docs" / "protocols.md"


def row(cells: list[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def detector(cfg: CfgNode) -> str:
    kind = "Keypoint" if cfg.MODEL.KEYPOINT_ON else "Mask" if cfg.MODEL.MASK_ON else "Faster"
    family, vit = network.family(run_config.flatten(cfg)), cfg.TRANSFER.VIT
    if family == network.VIT:
        return f"{kind} R-CNN, ViT of {vit.DEPTH} x {vit.WIDTH}"
    trunk = "timm" if family == network.TIMM else f"R{cfg.MODEL.RESNETS.DEPTH}"
    return f"{kind} R-CNN {trunk}-{'C4' if cfg.MODEL.BACKBONE.NAME == 'build_resnet_backbone' else 'FPN'}"


def norms(cfg: CfgNode) -> str:
    """Where there is batch norm that learns."""
    model, fpn = cfg.MODEL, cfg.MODEL.BACKBONE.NAME != "build_resnet_backbone"
    family, fixed = network.family(run_config.flatten(cfg)), cfg.TRANSFER.FREEZE_BACKBONE_WEIGHTS
    if family == network.VIT:
        return "none (layer norm)"
    places = {
        "ResNet": not fixed and family == network.RESNET and model.RESNETS.NORM,
        "the network's own": not fixed and family == network.TIMM,
        "FPN": fpn and model.FPN.NORM,
        "box head": fpn and model.ROI_BOX_HEAD.NORM,
        "mask head": fpn and model.MASK_ON and model.ROI_MASK_HEAD.NORM,
        "after res5": model.ROI_HEADS.NAME.endswith("ExtraNorm"),
    }
    return ", ".join(place for place, norm in places.items() if norm) or "none"


def numbers() -> list[str]:
    """One line a protocol: what it trains, for how long, on how much."""
    lines = [row(["protocol", "version", "detector", "batch norm", "iterations", "rate drops at", "batch", "rate"])]
    lines.append(row(["---", "---:", "---", "---", "---:", "---", "---:", "---:"]))
    for name in protocol.available():
        cfg = run_config.read(name)
        drops = ", ".join(map(str, cfg.SOLVER.STEPS))
        solver = [cfg.SOLVER.MAX_ITER, drops, cfg.SOLVER.IMS_PER_BATCH, f"{cfg.SOLVER.BASE_LR:g}"]
        lines.append(row([f"`{name}`", cfg.TRANSFER.VERSION, detector(cfg), norms(cfg), *solver]))
    return lines


def sources() -> list[str]:
    """One line a protocol: the head of its yaml."""
    lines = [row(["protocol", "source", "expected"]), row(["---"] * 3)]
    for name in protocol.available():
        said = protocol.header(name)
        lines.append(row([f"`{name}`", said["source"], said["expected"]]))
    return lines


def data_sets() -> list[str]:
    """One line a benchmark: where it lies and how it is scored."""
    lines = [row(["benchmark", "below", "holds", "scored by"]), row(["---"] * 4)]
    for entry in benchmarks.BENCHMARKS:
        metric = LAYOUTS[entry.layout].metric if entry.layout in LAYOUTS else "coco"
        place = f"`${entry.environment}/{entry.below}`" if entry.environment else f"`{entry.default_root}`"
        lines.append(row([f"`{entry.name}`", place.replace("/`", "`"), entry.tree(), metric]))
    return lines


TABLES = {"numbers": numbers, "sources": sources, "data sets": data_sets}


def filled(page: str) -> str:
    """The page with every table between its two marks written anew."""
    for name, make in TABLES.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, rest = page.split(begin)
        table = "\n".join(make())
        page = f"{before}{begin}\n\n{table}\n\n{end}{rest.split(end)[1]}"
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
