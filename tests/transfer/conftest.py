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


@pytest.fixture(scope="module")
def other(trunk) -> dict[str, torch.Tensor]:
    """A second trunk: a teacher, a key encoder."""
    return {name: tensor + 1 for name, tensor in trunk.items()}


@pytest.fixture(scope="session")
def published(module_at):
    """The functions of published.py, which build each layout."""
    return module_at(Path(__file__).with_name("published.py"))


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
    from transfer.checkpoints.conversion import convert

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


VOC_OF = ["person", "car", "dog", "boat", "chair", "bottle", "bird", "sofa"]
"""A VOC class for each of the eight drawn shapes."""


def _drawn(scenes: Path, half: str) -> tuple[dict, dict[int, list[dict]]]:
    content = json.loads((scenes / f"detection/{half}.json").read_text())
    objects = {image["id"]: [] for image in content["images"]}
    for annotation in content["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    return content, objects


@pytest.fixture(scope="session")
def layouts(tmp_path_factory, scenes) -> Path:
    """The drawn scenes as they would lie under DETECTRON2_DATASETS: VOC2007, VOC2012, cityscapes, lvis, coco."""
    root = tmp_path_factory.mktemp("datasets")
    _write_voc(root, scenes)
    _write_cityscapes(root / "cityscapes", scenes)
    _write_coco(root, scenes)
    return root


@pytest.fixture
def datasets(layouts, tmp_path, monkeypatch) -> Path:
    """``layouts``, found through the environment, with a cache of its own."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(layouts))
    monkeypatch.setenv("SSL_TRANSFER_CACHE", str(tmp_path / "cache"))
    return layouts


def _write_voc(root: Path, scenes: Path) -> None:
    for year, name, half in (("2007", "trainval", "train"), ("2012", "trainval", "train"), ("2007", "test", "val")):
        content, objects = _drawn(scenes, half)
        folder = root / f"VOC{year}"
        for part in ("ImageSets/Main", "Annotations", "JPEGImages"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        stems = []
        for image in content["images"]:
            stems.append(f"{name}_{image['id']:06d}")
            source = scenes / "detection" / half / image["file_name"]
            (folder / f"JPEGImages/{stems[-1]}.jpg").write_bytes(source.read_bytes())
            found = "".join(map(_voc_object, objects[image["id"]]))
            size = f"<size><width>{image['width']}</width><height>{image['height']}</height><depth>3</depth></size>"
            (folder / f"Annotations/{stems[-1]}.xml").write_text(f"<annotation>{size}{found}</annotation>")
        (folder / f"ImageSets/Main/{name}.txt").write_text("\n".join(stems) + "\n")


def _voc_object(annotation: dict) -> str:
    x, y, width, height = (round(value) for value in annotation["bbox"])
    edges = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
    box = "".join(f"<{edge}>{value}</{edge}>" for edge, value in edges.items())
    return (
        f"<object><name>{VOC_OF[annotation['category_id'] - 1]}</name><pose>Unspecified</pose><truncated>0</truncated>"
        f"<difficult>{int(annotation['area'] < 80)}</difficult><bndbox>{box}</bndbox></object>"
    )


def _write_cityscapes(root: Path, scenes: Path) -> None:
    import cv2
    import numpy as np
    from pycocotools import mask as coco_mask

    labels = [24, 25, 26, 27, 28, 31, 32, 33]
    for half in ("train", "val"):
        content, objects = _drawn(scenes, half)
        for part in ("gtFine", "leftImg8bit"):
            (root / part / half / "drawnville").mkdir(parents=True)
        for image in content["images"]:
            name = f"{half}/drawnville/drawnville_{image['id']:06d}_000019"
            pixels = np.full((image["height"], image["width"]), 7, np.uint16)  # road
            pixels[:4] = 0  # void
            for number, annotation in enumerate(objects[image["id"]]):
                label = labels[annotation["category_id"] - 1]
                value = label if annotation["area"] > 400 else 1000 * label + number  # the large ones are groups
                pixels[coco_mask.decode(annotation["segmentation"]) > 0] = value
            cv2.imwrite(str(root / "gtFine" / f"{name}_gtFine_instanceIds.png"), pixels)
            picture = cv2.imread(str(scenes / "detection" / half / image["file_name"]))
            cv2.imwrite(str(root / "leftImg8bit" / f"{name}_leftImg8bit.png"), picture)


def _write_coco(root: Path, scenes: Path) -> None:
    """COCO with its persons' keypoints, and LVIS' labels for the same images."""
    points = ["nose"] + [
        f"{side}_{point}" for point in ("eye", "ear", "shoulder", "elbow") for side in ("left", "right")
    ]
    points += [f"{side}_{point}" for point in ("wrist", "hip", "knee", "ankle") for side in ("left", "right")]
    (root / "coco/annotations").mkdir(parents=True)
    (root / "lvis").mkdir()
    for half in ("train", "val"):
        content, _ = _drawn(scenes, half)
        folder = root / f"coco/{half}2017"
        folder.mkdir()
        for image in content["images"]:
            (folder / image["file_name"]).write_bytes((scenes / "detection" / half / image["file_name"]).read_bytes())
        (root / f"coco/annotations/instances_{half}2017.json").write_text(json.dumps(content))
        persons = [
            annotation | {"category_id": 1} | _seventeen(annotation["bbox"]) for annotation in content["annotations"]
        ]
        person = [{"id": 1, "name": "person", "keypoints": points, "skeleton": []}]
        keypoints = content | {"annotations": persons, "categories": person}
        (root / f"coco/annotations/person_keypoints_{half}2017.json").write_text(json.dumps(keypoints))
        (root / f"lvis/lvis_v1_{half}.json").write_text(json.dumps(_as_lvis(content, half)))


def _seventeen(box: list[float]) -> dict:
    """Seventeen visible points along the diagonal of a box."""
    x, y, width, height = box
    steps = [step / 18 for step in range(1, 18)]
    flat = [value for step in steps for value in (int(x + step * width), int(y + step * height), 2)]
    return {"keypoints": flat, "num_keypoints": 17}


def _as_lvis(content: dict, half: str) -> dict:
    images = []
    for image in content["images"]:
        named = {key: value for key, value in image.items() if key != "file_name"}
        address = f"http://images.cocodataset.org/{half}2017/{image['file_name']}"
        images.append(named | {"coco_url": address, "neg_category_ids": [1], "not_exhaustive_category_ids": [2]})
    annotations = [{k: v for k, v in entry.items() if k != "iscrowd"} for entry in content["annotations"]]
    categories = [entry | {"frequency": "rcf"[entry["id"] % 3]} for entry in content["categories"]]
    return {"images": images, "annotations": annotations, "categories": categories}
