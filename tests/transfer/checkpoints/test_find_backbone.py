"""Which tensors of a file are the backbone, when it is wrapped, ambiguous, or none at all."""

from pathlib import Path

import pytest
import torch

from runtime.command_line import UserError
from transfer.checkpoints.find_backbone import find_trunk


@pytest.mark.parametrize("build", ["moco_v2", "simsiam", "matrix_ssl", "swav", "barlow_twins", "vicreg", "dino"])
def test_a_file_saved_without_the_wrapper_is_the_same_format(published, trunk, other, build):
    def unwrapped(node):
        if not isinstance(node, dict):
            return node
        return {key.removeprefix("module."): unwrapped(value) for key, value in node.items()}

    content = getattr(published, build)(trunk, other)
    plain, wrapped = find_trunk(unwrapped(content), Path("f.pth")), find_trunk(content, Path("f.pth"))
    assert plain.format == wrapped.format and published.gives(plain, trunk)
    compiled = {"state_dict": {f"_orig_mod.{name}": tensor for name, tensor in trunk.items()}}
    assert published.gives(find_trunk(compiled, Path("f.pth")), trunk)


def test_a_candidate_that_is_not_there_and_two_formats_at_once_are_one_line(published, trunk, other):
    with pytest.raises(UserError, match="MoCo v1/v2.*no encoder 'student'; it has: query, key"):
        find_trunk(published.moco_v2(trunk, other), Path("moco.pth"), encoder="student")
    moco, simsiam = published.moco_v2(trunk, other), published.simsiam(other, trunk)
    both = {"state_dict": {**moco["state_dict"], **simsiam["state_dict"]}}
    with pytest.raises(UserError, match="fits 2 formats: MoCo v1/v2; SimSiam; choose one with --format"):
        find_trunk(both, Path("both.pth"))
    assert published.gives(find_trunk(both, Path("both.pth"), format="MoCo v1/v2"), trunk)
    with pytest.raises(UserError, match="unknown format 'moco'; known: .*VICReg"):
        find_trunk(both, Path("both.pth"), format="moco")


def test_a_second_network_where_no_format_looks_is_not_passed_over(published, trunk, other):
    content = {"state_dict": trunk, "model": other}
    with pytest.raises(UserError, match="holds a ResNet under state_dict and another one under model; --format 'extr"):
        find_trunk(content, Path("two.pth"))
    found = find_trunk(content, Path("two.pth"), format="extracted backbone (mmselfsup, DenseCL)")
    assert published.gives(found, trunk) and found.other_keys == ["model"]


def test_two_tensors_of_one_name_are_ambiguous(published, trunk, other):
    """solo-learn's trunk was once `encoder` and is now `backbone`: a file with both does not say which."""
    content = published.solo_learn_older(trunk, other)
    content["state_dict"] |= {f"backbone.{name}": tensor for name, tensor in other.items()}
    with pytest.raises(UserError, match="ambiguous: .*conv1.weight and .*conv1.weight would both become conv1.weight"):
        find_trunk(content, Path("solo.ckpt"))


def test_what_fits_nothing_is_told_by_its_prefixes():
    content = {
        "state_dict": {"vit.blocks.0.weight": torch.zeros(1), "vit.norm": torch.zeros(1), "scale": torch.zeros(1)}
    }
    with pytest.raises(
        UserError, match=r"begin with state_dict: vit. \(2\), state_dict: scale \(1\); transfer/convert.py --formats"
    ):
        find_trunk(content, Path("vit.pth"))


@pytest.mark.parametrize(
    ("build", "online", "teacher"),
    [("moco_v2", "query", "key"), ("dino", "student", "teacher"), ("timm_training", "online", "ema")],
)
def test_online_and_teacher_name_the_encoder_of_every_format(published, trunk, other, build, online, teacher):
    content = getattr(published, build)(trunk, other)
    for role, name in (("online", online), ("teacher", teacher)):
        found = find_trunk(content, Path("f.pth"), encoder=role)
        assert found.encoder == name and len(found.names) == 265


def test_a_dictionary_that_stands_in_a_thousand_places_is_refused_soon():
    layer: dict = {"a": torch.zeros(1)}
    for _ in range(5):
        layer = {str(i): layer for i in range(50)}
    with pytest.raises(UserError, match="holds more than 10000 dictionaries"):
        find_trunk(layer, Path("bomb.pth"))
