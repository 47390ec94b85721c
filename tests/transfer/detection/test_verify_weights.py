"""Weights that did not arrive are an error, in whatever way they did not arrive."""

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model

from runtime.command_line import UserError
from transfer.checkpoints import weights
from transfer.detection import run_config, verify_weights
from transfer.detection.checkpointer import Checkpointer

SMALL = {"MODEL.DEVICE": "cpu", "MODEL.RESNETS.NORM": "BN", "MODEL.FPN.NORM": "BN"}


@pytest.fixture(scope="module")
def arrays(converted) -> dict[str, np.ndarray]:
    return weights.read(converted)["model"]


@pytest.fixture(scope="module", params=["demo-c4", "demo-fpn"])
def state(request, converted) -> dict[str, torch.Tensor]:
    model = build_model(run_config.load(request.param, SMALL))
    Checkpointer(model).load_weights(weights.read(converted))
    return model.state_dict()


def test_all_265_tensors_arrive_and_only_the_extra_norm_is_new(state, arrays):
    proof = verify_weights.verify(state, arrays)
    assert len(proof.arrived) == len(set(proof.arrived.values())) == 265
    is_c4 = proof.arrived["res5.0.conv1.weight"].startswith("roi_heads.")
    extra = [f"roi_heads.res5.norm.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    assert proof.extras == (extra if is_c4 else [])


@pytest.mark.parametrize("name", ["stem.conv1.weight", "res5.2.conv3.norm.running_var"])
def test_a_changed_value_is_noticed(state, arrays, name):
    place = verify_weights.verify(state, arrays).arrived[name]
    with pytest.raises(UserError, match=f"{place} of the model differs"):
        verify_weights.verify(state | {place: state[place] + 1e-6}, arrays)


def test_a_tensor_the_model_does_not_have_is_noticed(state, arrays):
    place = verify_weights.verify(state, arrays).arrived["res4.5.conv2.weight"]
    with pytest.raises(UserError, match="264 of the 264 tensors of this backbone and 1 others .*res4.5.conv2.weight"):
        verify_weights.verify({key: value for key, value in state.items() if key != place}, arrays)


def test_a_tensor_in_two_places_is_noticed(state, arrays):
    copy = "roi_heads.res2.0.conv1.weight"
    with pytest.raises(UserError, match=f"backbone.* and {copy}"):
        verify_weights.verify(state | {copy: torch.as_tensor(arrays["res2.0.conv1.weight"])}, arrays)


def test_another_shape_is_noticed(state, arrays):
    place = verify_weights.verify(state, arrays).arrived["stem.conv1.weight"]
    with pytest.raises(UserError, match="has shape .64, 3, 3, 3. in the model, .64, 3, 7, 7. in the weights"):
        verify_weights.verify(state | {place: torch.zeros(64, 3, 3, 3)}, arrays)


def test_a_deeper_model_is_noticed(state, arrays):
    with pytest.raises(UserError, match=r"265 of the 266 tensors .*difference: res4.6.conv1.weight"):
        verify_weights.verify(state | {"backbone.res4.6.conv1.weight": torch.zeros(1)}, arrays)


def test_a_file_with_fewer_or_other_tensors_is_noticed(state, arrays):
    fewer = {name: array for name, array in arrays.items() if name != "res3.0.conv1.weight"}
    with pytest.raises(UserError, match="264 of the 265 .* 0 others .*res3.0.conv1.weight"):
        verify_weights.verify(state, fewer)
    with pytest.raises(UserError, match="265 of the 265 .* 1 others .*res9"):
        verify_weights.verify(state, arrays | {"res9.weight": np.zeros(1)})


def test_a_model_that_was_never_loaded_is_noticed(arrays):
    """Detectron2 itself would only warn and train from scratch."""
    model = build_model(run_config.load("demo-fpn", SMALL))
    with pytest.raises(UserError, match="they were not loaded"):
        verify_weights.verify(model.state_dict(), arrays)
