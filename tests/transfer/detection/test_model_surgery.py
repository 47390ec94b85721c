"""Activation checkpointing costs time and saves memory; nothing else about a training step changes."""

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from transfer.detection import run_config, settings
from transfer.detection.trainer import Trainer


def step(name: str, *, checkpointed: bool) -> tuple[dict, dict, int]:
    """Gradients, buffers, and bytes kept for the backward pass, of one step on two drawn squares."""
    words = "MODEL.DEVICE cpu MODEL.RESNETS.NORM BN MODEL.FPN.NORM BN MODEL.MASK_ON False SOLVER.AMP.ENABLED False"
    cfg = run_config.load(name, settings.parse([*words.split(), f"TRANSFER.CHECKPOINT_ACTIVATIONS={checkpointed}"]))
    torch.manual_seed(0)
    model = Trainer.build_model(cfg)
    target = Instances((64, 64), gt_boxes=Boxes([[8.0, 8.0, 40.0, 40.0]]), gt_classes=torch.tensor([1]))
    images = torch.randint(0, 255, (2, 3, 64, 64), generator=torch.Generator().manual_seed(1)).float()
    inputs = [{"image": image, "instances": target, "height": 64, "width": 64} for image in images]
    kept: dict[int, int] = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(2)
    with EventStorage(), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = sum(model(inputs).values())
    loss.backward()
    gradients = {key: value.grad for key, value in model.named_parameters()}
    return gradients, dict(model.named_buffers()), sum(kept.values())


@pytest.mark.parametrize("name", ["demo-c4", "demo-fpn"])
def test_gradients_and_running_statistics_are_equal_and_less_is_kept(name):
    gradients, buffers, whole = step(name, checkpointed=False)
    again, buffers_again, kept = step(name, checkpointed=True)
    assert all(torch.equal(gradients[key], again[key]) for key in gradients)
    assert all(torch.equal(buffers[key], buffers_again[key]) for key in buffers)
    assert kept < 0.75 * whole, f"{kept / whole:.2f} of the memory"
