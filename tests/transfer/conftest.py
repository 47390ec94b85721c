"""A trained-looking backbone in every format, and fine-tuning runs small enough for a test."""

import json
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def trunk() -> dict[str, torch.Tensor]:
    """A torchvision ResNet-50 state dict without fc whose norms look as if they had seen data."""
    from torchvision.models import resnet50

    torch.manual_seed(0)
    network = resnet50()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.0)
            module.num_batches_tracked.fill_(7)
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("fc.")}


@pytest.fixture(scope="session")
def about() -> dict:
    """What a file of the suite says of its run."""
    return {"method": "matrix_ssl", "recipe": "demo", "epochs": 8, "seed": 3, "config": {}, "commit": "0123456789ab"}


@pytest.fixture(scope="session")
def backbone_pth(tmp_path_factory, trunk, about) -> Path:
    """backbone.pth: the hand-over file of pretraining."""
    path = tmp_path_factory.mktemp("pretrain") / "backbone.pth"
    seen = {"order": "RGB", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    torch.save({"format": "ssl-transfer-bench/backbone/1", "state_dict": trunk, "input": seen, **about}, path)
    return path


@pytest.fixture(scope="session")
def checkpoint_pth(tmp_path_factory, trunk, about) -> Path:
    """checkpoint.pth: the same trunk among a projector, a predictor and a teacher with other values."""
    model = {f"backbone.{name}": tensor for name, tensor in trunk.items()}
    model |= {f"teacher.backbone.{name}": torch.zeros_like(tensor) for name, tensor in trunk.items()}
    model |= {"projector.0.weight": torch.ones(4, 4), "predictor.0.weight": torch.ones(4, 4), "queue": torch.ones(2)}
    path = tmp_path_factory.mktemp("pretrain") / "checkpoint.pth"
    torch.save({"format": "ssl-transfer-bench/checkpoint/1", "model": model, "optimizer": {}, "step": 9, **about}, path)
    return path


@pytest.fixture(scope="session")
def converted(tmp_path_factory, backbone_pth) -> Path:
    """backbone.pkl, with conversion.json beside it."""
    from transfer.convert import convert

    path = tmp_path_factory.mktemp("convert") / "backbone.pkl"
    convert(backbone_pth, path)
    return path


TINY = {
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": 2,
    "SOLVER.STEPS": (),
    "INPUT.MIN_SIZE_TRAIN": (64,),
    "INPUT.MIN_SIZE_TEST": 64,
    "MODEL.RPN.POST_NMS_TOPK_TEST": 5,
    "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE": 8,
    "TEST.PRECISE_BN.NUM_ITER": 2,
}


@pytest.fixture(scope="session")
def tiny():
    """``tiny(SOLVER__MAX_ITER=1)``: KEY VALUE pairs for a run of a second; __ stands for the dot."""

    def pairs(**changes) -> list[str]:
        settings = TINY | {key.replace("__", "."): value for key, value in changes.items()}
        return [text for key, value in settings.items() for text in (key, str(value))]

    return pairs


@pytest.fixture(scope="session")
def command(scenes, tiny):
    """``command(out, weights, protocol=..., SOLVER__MAX_ITER=...)``: a tiny run's command line on the scenes."""

    def words(out, weights="random", *, protocol: str = "demo-fpn", **changes) -> list[str]:
        options = f"--protocol {protocol} --benchmark scenes --data {scenes} --weights {weights} --out {out}"
        return [*options.split(), *tiny(**changes)]

    return words


@pytest.fixture(scope="session")
def fine_tuned(tmp_path_factory, command, converted):
    """``fine_tuned(protocol)``: the output folder of one tiny run under a demo protocol, run once."""
    from transfer import train

    folders: dict[str, Path] = {}

    def run(protocol: str) -> Path:
        if protocol not in folders:
            folders[protocol] = tmp_path_factory.mktemp("runs") / protocol
            assert train.main(command(folders[protocol], converted, protocol=protocol)) == 0
        return folders[protocol]

    return run


@pytest.fixture
def coco(tmp_path) -> Path:
    """A COCO set of two 40 x 30 pixel images with one polygon each: data.json and images/."""
    import cv2
    import numpy as np

    (tmp_path / "images").mkdir()
    content = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}]}
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / "images" / f"{number}.png"), np.full((30, 40, 3), 90 * number, np.uint8))
        content["images"].append({"id": number, "file_name": f"{number}.png", "width": 40, "height": 30})
        content["annotations"].append(
            {
                "id": 10 + number,
                "image_id": number,
                "category_id": 7,
                "bbox": [5, 5, 20, 10],
                "area": 200,
                "iscrowd": 0,
                "segmentation": [[5, 5, 25, 5, 25, 15, 5, 15]],
            }
        )
    (tmp_path / "data.json").write_text(json.dumps(content))
    return tmp_path
