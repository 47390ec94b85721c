"""A frozen trunk keeps its weights, learns its statistics, and costs no backward pass."""

import pytest
import torch

from transfer.checkpoints import weights


@pytest.fixture(scope="module")
def final(tmp_path_factory, command, converted) -> dict[str, torch.Tensor]:
    from transfer import train

    out = tmp_path_factory.mktemp("frozen") / "out"
    changes = {"TRANSFER__FREEZE_BACKBONE_WEIGHTS": True, "SOLVER__WARMUP_ITERS": 0}
    assert train.main(command(out, converted, **changes)) == 0
    return torch.load(out / "model_final.pth", weights_only=True)["model"]


def test_weights_stay_and_statistics_follow_the_data(final, converted):
    for name, array in weights.read(converted)["model"].items():
        same = torch.equal(final[f"backbone.bottom_up.{name}"], torch.as_tensor(array))
        assert same != name.endswith(("running_mean", "running_var")), name


def test_the_rest_of_the_detector_learns(final):
    assert final["backbone.fpn_lateral2.norm.bias"].abs().max() > 0


@pytest.mark.parametrize("protocol", ["demo-fpn", "demo-c4"])
def test_no_graph_is_kept_through_the_trunk(protocol):
    from detectron2.modeling import build_model

    from transfer.detection import run_config
    from transfer.detection.model_surgery import freeze_backbone

    model = build_model(
        run_config.load(protocol, {"MODEL.DEVICE": "cpu", "MODEL.RESNETS.NORM": "BN", "MODEL.FPN.NORM": "BN"})
    )
    freeze_backbone(model)
    features = model.backbone(torch.rand(1, 3, 64, 64))
    learns = any(feature.requires_grad for feature in features.values())
    assert learns == (protocol == "demo-fpn")  # the FPN is no part of the trunk
    if protocol == "demo-c4":
        assert all(parameter.requires_grad for parameter in model.roi_heads.res5.parameters())
