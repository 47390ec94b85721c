"""A detector's predictions on a data set, as COCO results, and the file that keeps them."""

import gzip
import io
from collections.abc import Sequence
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
from transfer.metrics.coco import write_json_list
from transfer.metrics.coco_results import CocoResults


@torch.inference_mode()
def predict(model: torch.nn.Module, loader, *, category_ids: list[int], stop: StopRequest) -> CocoResults:
    """Run ``model`` over ``loader`` and return COCO results (image_id, category_id, bbox, score, segmentation).

    Args:
        loader: batches of Detectron2's inputs; each rank gives its own share, and the main process gets all.
        category_ids: the data set's category id of each class index.
        stop: asked after each batch; raises ``Stopped``.
    """
    was_training = model.training
    model.eval()
    progress = Progress(len(loader), "evaluate", quiet=not distributed.is_main())
    found = CocoResults()
    for done, inputs in enumerate(loader, 1):
        for image, output in zip(inputs, model(inputs), strict=True):
            entries = coco_results(output["instances"].to("cpu"), image["image_id"])
            for entry in entries:
                found.append({**entry, "category_id": category_ids[entry["category_id"]]})
        progress.update(done)
        stop.check()
    model.train(was_training)
    parts: Any = comm.gather(found)  # annotated as if it returned nothing
    if len(parts) == 1:
        return found
    whole = CocoResults()
    for part in parts:
        whole.extend(part)
    return whole


def coco_results(instances: Instances, image_id: int) -> list[dict]:
    """COCO results of one image, as Detectron2 makes them, category_id being the index of the class."""
    if not instances.has("pred_masks"):
        return instances_to_coco_json(instances, image_id)
    masks = packed_in_boxes(instances.pred_masks.numpy(), instances.pred_boxes.tensor.numpy())
    instances.remove("pred_masks")
    entries = instances_to_coco_json(instances, image_id)
    return [{**entry, "segmentation": mask} for entry, mask in zip(entries, masks, strict=True)]


def write_predictions(path: Path, predictions: Sequence[dict]) -> None:
    """Write COCO results as gzipped json, as a whole; equal predictions make equal files."""
    with (
        replacing(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        io.BufferedWriter(packed, 1 << 20) as file,  # pyright: ignore[reportArgumentType]
    ):
        write_json_list(file, predictions)
