"""Every published layout, built from the modules it comes from, gives the same 265 tensors under the same names.

What a second trunk in the file holds differs in every tensor, so that a swap would be seen.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from transfer.checkpoints import read
from transfer.checkpoints.families import RESNET
from transfer.checkpoints.find_backbone import find_trunk
from transfer.checkpoints.formats import FORMATS


@dataclass(frozen=True)
class Layout:
    build: str
    """A function of published.py."""
    format: str
    trunks: tuple[str, ...]
    """The documented one, which holds the first trunk, then the others, which hold the second."""
    method: str
    epochs: int = 0


LAYOUTS = [
    Layout("suite_backbone", "this suite's backbone", ("online",), "vicreg", 8),
    Layout("suite_checkpoint", "this suite's training checkpoint", ("online", "teacher"), "byol", 8),
    Layout("moco_v1", "MoCo v1/v2", ("query", "key"), "moco_v1", 200),
    Layout("moco_v2", "MoCo v1/v2", ("query", "key"), "moco_v2", 200),
    Layout("simsiam", "SimSiam", ("online",), "simsiam", 100),
    Layout("matrix_ssl", "MEC or Matrix-SSL (authors' code)", ("online", "teacher"), "", 100),
    Layout("swav", "SwAV", ("trunk",), "swav"),
    Layout("swav_training", "SwAV", ("trunk",), "swav", 400),
    Layout("deepcluster_v2", "DeepCluster-v2 (SwAV's repository)", ("trunk",), "deepcluster_v2"),
    Layout("barlow_twins", "Barlow Twins (full checkpoint)", ("online",), "barlow_twins", 300),
    Layout("vicreg", "VICReg (full checkpoint)", ("online",), "vicreg", 1000),
    Layout("bare", "bare backbone (Barlow Twins, VICReg and DINO resnet50.pth)", ("trunk",), ""),
    Layout("moco_v3", "MoCo v3 (ResNet)", ("online", "momentum"), "moco_v3", 300),
    Layout("dino", "DINO (full checkpoint)", ("teacher", "student"), "dino", 800),
    Layout("solo_learn", "solo-learn", ("online", "momentum"), "byol", 100),
    Layout("solo_learn_dino", "solo-learn", ("online", "momentum"), "dino", 100),
    Layout("solo_learn_older", "solo-learn", ("online",), "simsiam", 100),
    Layout("lightly", "lightly", ("backbone", "teacher"), "", 100),
    Layout("lightly_numbered", "lightly (numbered layers)", ("backbone", "momentum"), "", 100),
    Layout("lightly_backbone_numbered", "lightly (numbered layers)", ("backbone",), ""),
    Layout("vissl", "VISSL (classy_state_dict)", ("trunk",), "", 200),
    Layout("vissl_model", "VISSL (model_state_dict, or the trunk alone)", ("trunk",), ""),
    Layout("vissl_trunk", "VISSL (model_state_dict, or the trunk alone)", ("trunk",), ""),
    Layout("mmselfsup", "mmselfsup, mmpretrain, OpenSelfSup", ("backbone", "momentum"), "", 200),
    Layout("mmselfsup_older", "mmselfsup, mmpretrain, OpenSelfSup", ("backbone", "momentum"), "", 200),
    Layout("mmpretrain", "mmselfsup, mmpretrain, OpenSelfSup", ("backbone",), "", 100),
    Layout("extracted", "extracted backbone (mmselfsup, DenseCL)", ("trunk",), ""),
    Layout("torchvision", "torchvision or timm state dict", ("trunk",), ""),
    Layout("torchvision_training", "torchvision or timm state dict", ("trunk",), "", 90),
    Layout("timm", "torchvision or timm state dict", ("trunk",), ""),
    Layout("timm_training", "timm training checkpoint", ("ema", "online"), "", 300),
    Layout("hugging_face", "Hugging Face ResNet", ("trunk",), ""),
    Layout("detectron2", "Detectron2 backbone", ("trunk",), ""),
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.build)
def test_a_published_layout_is_recognised_and_gives_265_tensors(tmp_path, published, trunk, other, layout):
    path = tmp_path / "file.pth.tar"
    torch.save(getattr(published, layout.build)(trunk, other), path)
    content = read.read(path).content
    try:
        found = find_trunk(content, path)
        assert (found.format, found.encoder) == (layout.format, layout.trunks[0])
        assert tuple(found.candidates) == layout.trunks
        assert len(found.names) == 265 and published.gives(found, trunk)
        assert found.names.keys() | found.dropped.keys() == found.tensors.keys()
        assert not found.names.keys() & found.dropped.keys()
        assert (found.about["method"], found.about["epochs"]) == (layout.method, layout.epochs)
        for name in layout.trunks[1:]:
            assert published.gives(find_trunk(content, path, encoder=name), other), name
    finally:
        path.unlink()


def test_every_format_is_built_and_named_once():
    names = [entry.name for entry in FORMATS]
    assert len(names) == len(set(names))
    assert {layout.format for layout in LAYOUTS} == {entry.name for entry in FORMATS if entry.family == RESNET}


def test_swav_has_its_own_deviation_of_red_and_the_suite_says_what_it_used(published, trunk, other):
    swav_input = find_trunk(published.swav(trunk, other), Path("swav.pth")).about["input"]
    assert swav_input["pixel_std"] == [58.14, 57.12, 57.375] and not swav_input["stride_in_1x1"]
    found = find_trunk(published.suite_backbone(trunk, other), Path("backbone.pth"))
    assert found.about["input"]["pixel_mean"] == [127.5] * 3 and found.about["variant"] == "gamma=0.3"
