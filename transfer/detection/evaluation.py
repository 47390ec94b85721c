"""A detector's predictions on a data set, as COCO results, and the file that keeps them."""

import gzip
import json
from pathlib import Path
from typing import Any

import torch
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances
from detectron2.utils import comm

from runtime import distributed
from runtime.files import replacing
from runtime.progress import Progress
from runtime.stopping import StopRequest
from transfer.detection.masks import packed_in_boxes


@torch.inference_mode()
def predict(model: torch.nn.Module, loader, *, category_ids: list[int], stop: StopRequest) -> list[dict]:
    """Run ``model`` over ``loader`` and return COCO results (image_id, category_id, bbox, score, segmentation).

    Args:
        loader: batches of Detectron2's inputs; each rank gives its own share, and the main process gets all.
        category_ids: the data set's category id of each class index.
        stop: asked after each batch; raises ``Stopped``.
    """
    was_training = model.training
    model.eval()
    progress = Progress(len(loader), "evaluate", quiet=not distributed.is_main())
    found = []
    for done, inputs in enumerate(loader, 1):
        for image, output in zip(inputs, model(inputs), strict=True):
            entries = coco_results(output["instances"].to("cpu"), image["image_id"])
            found += [{**entry, "category_id": category_ids[entry["category_id"]]} for entry in entries]
        progress.update(done)
        stop.check()
    model.train(was_training)
    parts: Any = comm.gather(found)  # annotated as if it returned nothing
    return [entry for part in parts for entry in part]


def coco_results(instances: Instances, image_id: int) -> list[dict]:
    """COCO results of one image, as Detectron2 makes them, category_id being the index of the class."""
    if not instances.has("pred_masks"):
        return instances_to_coco_json(instances, image_id)
    masks = packed_in_boxes(instances.pred_masks.numpy(), instances.pred_boxes.tensor.numpy())
    instances.remove("pred_masks")
    entries = instances_to_coco_json(instances, image_id)
    return [{**entry, "segmentation": mask} for entry, mask in zip(entries, masks, strict=True)]


def write_predictions(path: Path, predictions: list[dict]) -> None:
    """Write COCO results as gzipped json, as a whole; equal predictions make equal files."""
    with (
        replacing(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file,
    ):
        file.write(json.dumps(predictions).encode())
