"""One loader serves probes and analysis: any hand-over file of the suite, with the input it was trained on."""

import pytest
import torch

from pretrain import backbones
from pretrain.checkpoints import checkpoint
from runtime.command_line import UserError
from transfer.backbones import frozen

pytestmark = pytest.mark.slow

INPUT = {"order": "RGB", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


@pytest.fixture
def written(tmp_path):
    """``written(order="BGR")``: a backbone.pth with these input settings."""

    def write(**input_settings):
        content = {"format": checkpoint.BACKBONE, "method": "swav", "recipe": "r", "epochs": 1, "seed": 4}
        content |= {"input": INPUT | input_settings, "state_dict": backbones.untrained(seed=0).state_dict()}
        checkpoint.save(tmp_path / "backbone.pth", content)
        return tmp_path / "backbone.pth"

    return write


def test_a_bgr_backbone_sees_blue_first(written):
    loaded = frozen.load(written(order="BGR", mean=[0.1, 0.2, 0.3], std=[1.0, 1.0, 1.0]))
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert loaded.inputs(red).flatten().tolist() == pytest.approx([-0.1, -0.2, 1 - 0.3])


def test_a_caffe_stride_gives_other_features_than_torchvisions(written):
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain, caffe = (frozen.load(written(stride_in_1x1=flag)).network for flag in (False, True))
    with torch.no_grad():
        assert not torch.allclose(plain(image), caffe(image))
    assert caffe.layer2[0].conv1.stride == (2, 2) and caffe.layer2[0].conv2.stride == (1, 1)


def test_a_converted_file_has_no_views_of_its_own_and_gets_the_usual_ones(written):
    loaded = frozen.load(written())
    assert loaded.views == frozen.VIEWS and (loaded.seed, loaded.step) == (4, 0)


def test_a_training_checkpoint_is_no_row_of_a_table(tmp_path):
    path = tmp_path / "checkpoint.pth"
    checkpoint.save(path, {"format": checkpoint.CHECKPOINT, "method": "simsiam", "model": {}})
    with pytest.raises(UserError, match="is not a backbone.pth of this suite .found ssl-transfer-bench/checkpoint/1"):
        frozen.load(path)
    with pytest.raises(UserError, match="lacks or garbles 'config'|is not a ResNet"):
        frozen.load(path, unfinished=True)
