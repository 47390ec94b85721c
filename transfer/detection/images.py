"""Images of a data set as a detector's inputs: decoded as everywhere in the suite, augmented by Detectron2."""

import copy
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.build import trivial_batch_collator
from detectron2.data.detection_utils import build_augmentation, convert_PIL_to_numpy
from detectron2.data.samplers import InferenceSampler
from detectron2.structures import PolygonMasks
from PIL import Image
from torch.utils.data import BatchSampler, DataLoader, Dataset

from pretrain.data.datasets import begin_worker
from pretrain.data.decode import UnreadableImage, read_pixels
from transfer.detection.masks import Polygons
from transfer.detection.samplers import TrainingBatches

FAULT = "fault"
"""Key of an input that could not be made: a worker's exception would arrive as a traceback, this arrives as a line."""


class Mapper(DatasetMapper):
    """Detectron2's mapper for boxes, masks and keypoints, which opens images as `pretrain.data.decode` does."""

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Detectron2's choices, with large-scale jitter or DETR's crop where TRANSFER asks for one of them.

        After the jitter, boxes are computed again from the masks, which the crop may have cut; DETR's are cut too.
        """
        made = super().from_config(cfg, is_train)
        if is_train and cfg.TRANSFER.DETR_CROP:
            made["augmentations"] = [detr_crop(cfg), *made["augmentations"]]
        if is_train and cfg.TRANSFER.SCALE_JITTER:
            made |= {"augmentations": scale_jitter(cfg), "recompute_boxes": cfg.MODEL.MASK_ON}
        return made

    def __call__(self, dataset_dict: dict) -> dict:
        """A record of Detectron2's data set -> a model's input. Raises UnreadableImage naming the file."""
        record = copy.deepcopy(dataset_dict)
        image = _in_order(read_pixels(record["file_name"]), self.image_format)
        height, width = image.shape[:2]
        expected = (record.setdefault("width", width), record.setdefault("height", height))
        if (width, height) != expected:
            raise UnreadableImage(
                f"{record['file_name']} is {width} x {height} pixels (turned as its EXIF says), the annotations say "
                f"{expected[0]} x {expected[1]}; correct one of them"
            )
        augmented = T.AugInput(image)
        transforms = self.augmentations(augmented)
        pixels: Any = augmented.image
        record["image"] = torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        if not self.is_train:
            record.pop("annotations", None)
        elif "annotations" in record:
            self._transform_annotations(record, transforms, pixels.shape[:2])
            objects = record["instances"]
            if objects.has("gt_masks") and isinstance(objects.gt_masks, PolygonMasks):
                objects.gt_masks = Polygons.of(objects.gt_masks.polygons)
        return record


def detr_crop(cfg: CfgNode) -> T.Augmentation:
    """Half of the time a smaller image and a crop of it, as facebookresearch/detr, d2/detr/dataset_mapper.py."""
    smaller = T.ResizeShortestEdge([400, 500, 600], cfg.INPUT.MAX_SIZE_TRAIN, sample_style="choice")
    return T.RandomApply(T.AugmentationList([smaller, T.RandomCrop("absolute_range", (384, 600))]), prob=0.5)


def scale_jitter(cfg: CfgNode) -> list[T.Augmentation]:
    """Flip, scale, crop: in the order of Detectron2's projects/ViTDet/configs/common/coco_loader_lsj.py.

    What is smaller than the square is left so: the model pads.
    """
    (least, most), side = cfg.TRANSFER.SCALE_JITTER, cfg.TRANSFER.SQUARE
    square: Any = (side, side)  # Detectron2's annotation says one number
    flips: list[T.Augmentation] = [
        flip for flip in build_augmentation(cfg, is_train=True) if isinstance(flip, T.RandomFlip)
    ]
    return [*flips, T.ResizeScale(least, most, side, side), T.FixedSizeCrop(square, pad=False)]


def mapper_of(cfg: CfgNode, *, is_train: bool) -> Mapper:
    """The mapper of a config, by Detectron2's ``configurable``."""
    configurable: Any = Mapper
    return configurable(cfg, is_train=is_train)


def _in_order(pixels: np.ndarray, order: str) -> np.ndarray:
    """RGB pixels (H, W, 3) in one of Detectron2's formats: ``RGB``, ``BGR``, ``L``, ``YUV-BT.601``."""
    if order == "RGB":
        return pixels
    return pixels[:, :, ::-1] if order == "BGR" else convert_PIL_to_numpy(Image.fromarray(pixels), order)


class MappedImages(Dataset):
    """Inputs by (index, seed): what is random in one depends on its seed alone, whichever worker makes it.

    The seed is None where nothing is random.
    """

    def __init__(self, records: list[dict], mapper: Callable[[dict], dict]):
        # Packed into one array: workers that count references to a list of dictionaries copy it page by page.
        self.records, self.mapper = DatasetFromList(records, copy=False), mapper

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, tuple[int, ...] | None]) -> dict:
        index, seed = key
        if seed is not None:
            np.random.seed(seed)  # Detectron2's augmentations draw from numpy's global generator
            random.seed(hash(seed))
        try:
            return self.mapper(self.records[index])
        except UnreadableImage as error:
            return {FAULT: str(error)}


class Batches:
    """Detectron2's inputs, batch after batch. Iterating raises UnreadableImage for an input that could not be made."""

    def __init__(self, loader: DataLoader):
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[list[dict]]:
        for batch in self.loader:
            if faults := [entry[FAULT] for entry in batch if FAULT in entry]:
                raise UnreadableImage(faults[0])
            yield batch


def training_batches(records: list[dict], cfg: CfgNode, batches: TrainingBatches, *, workers: int) -> Batches:
    """The augmented images that ``batches`` gives the numbers of, without end."""
    return loader(records, mapper_of(cfg, is_train=True), batches, workers, pinned=cfg.MODEL.DEVICE == "cuda")


def test_batches(records: list[dict], cfg: CfgNode) -> Batches:
    """This rank's share of the images, TRANSFER.EVALUATION_BATCH at a time."""
    keys: Any = _Keys(InferenceSampler(len(records)))
    shares = BatchSampler(keys, cfg.TRANSFER.EVALUATION_BATCH, drop_last=False)
    mapper, workers = mapper_of(cfg, is_train=False), cfg.DATALOADER.NUM_WORKERS
    return loader(records, mapper, shares, workers, pinned=cfg.MODEL.DEVICE == "cuda")


class _Keys:
    """The keys of images in which nothing is random."""

    def __init__(self, order: InferenceSampler):
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[int, None]]:
        return ((index, None) for index in self.order)


def loader(
    records: list[dict], mapper: Callable[[dict], dict], batches: Iterable, workers: int, *, pinned: bool = False
) -> Batches:
    """What ``mapper`` makes of the records whose keys (index, seed) ``batches`` gives.

    Args:
        pinned: keep the images where a GPU copies them from at full speed.
    """
    return Batches(
        DataLoader(
            MappedImages(records, mapper),
            batch_sampler=batches,
            num_workers=workers,
            pin_memory=pinned,
            collate_fn=trivial_batch_collator,
            worker_init_fn=begin_worker,
            # Without one of its own it would draw from the generator that samples proposals, once per start.
            generator=torch.Generator(),
        )
    )
