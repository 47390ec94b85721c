"""What one image costs, against the literature's count."""

import pytest

from runtime.command_line import UserError
from transfer.detection import flops


def test_resnet50_without_its_classifier_has_23_5_million_parameters_and_4_1_gflops():
    count = flops.backbone()
    assert count.parameters == 25_557_032 - 2_049_000  # torchvision's, less the classifier
    assert count.gflops == pytest.approx(4.109, abs=0.002)


def test_a_detector_costs_more_than_its_trunk_and_counts_the_same_every_time():
    first, again = flops.detector("demo-fpn", classes=8), flops.detector("demo-fpn", classes=8)
    assert first == again and first.side == 64
    assert first.gflops > flops.backbone(side=64).gflops


def test_an_unknown_protocol_lists_the_known():
    with pytest.raises(UserError, match="demo-fpn"):
        flops.detector("demo", classes=8)
