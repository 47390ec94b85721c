"""The contract of pretrain/backbones: a file there is a family, and every family does this."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pretrain import backbones, config, methods, train
from pretrain.backbones import resnet
from pretrain.config import BackboneConfig
from pretrain.data import scenes
from pretrain.networks import batch_norm
from runtime.command_line import UserError
from transfer.backbones import frozen
from transfer.checkpoints import conversion

TESTS = Path(__file__).resolve().parents[2]

SMALL = ["resnet18", "vit_mini_patch8", "timm:convnext_atto", "timm:regnety_002", "timm:swin_tiny_patch4_window7_224"]
every_small_network = pytest.mark.parametrize("name", SMALL)


def drawn(name: str, **settings):
    torch.manual_seed(0)
    return backbones.build(BackboneConfig(name=name, **settings), side=32)


def test_the_small_networks_stand_for_every_family():
    assert {backbones.family_of(name) for name in SMALL} == set(backbones.families().values())


@every_small_network
def test_features_have_the_width_it_says(name):
    network = drawn(name).eval()
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, network.width)


@every_small_network
@pytest.mark.parametrize("method", methods.available())
def test_every_method_takes_it(name, method, module_at):
    if method not in ("simclr", "moco_v2", "byol") and name != "vit_mini_patch8":
        return  # what a method asks of a network is its width; those three, and BN in groups, are all the kinds
    shared = module_at(TESTS / "pretrain" / "methods" / "test_every_method.py")
    network = shared.build(method, trunk=lambda: drawn(name))
    assert torch.isfinite(shared.step(network, shared.two_views()))
    idle = [key for key, value in network.backbone.named_parameters() if value.grad is None]
    assert not idle, idle


@every_small_network
def test_a_file_gives_the_same_features_back(name, tmp_path):
    network = drawn(name).eval()
    torch.manual_seed(1)
    images = torch.rand(2, 3, 32, 32)
    again = backbones.rebuilt(network.state_dict(), {"name": name}, {})
    assert torch.equal(again(images), network(images)) and again.width == network.width and not again.training


def test_registers_as_many_as_another_grid_has_more_are_no_patches():
    """25 positions: 8 registers, the class token and 4 x 4 patches, which are not 5 x 5."""
    network = drawn("vit_mini_patch8", registers=8).eval()
    again = backbones.rebuilt(network.state_dict(), {"name": "vit_mini_patch8"}, {})
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again(images), network(images))


def test_a_norm_of_timm_keeps_its_activation_in_groups():
    one, grouped = drawn("timm:regnety_002").train(), batch_norm.in_groups(drawn("timm:regnety_002"), 1).train()
    images = torch.rand(4, 3, 64, 64)
    assert torch.allclose(one(images), grouped(images), atol=1e-5)


@pytest.mark.parametrize("kind", ["class-token", "patches", "class-token+patches", "last-4-class-tokens"])
def test_the_features_of_a_vit_are_tokens_behind_the_last_norm(kind):
    network = drawn("vit_mini_patch8", registers=2).eval()
    images = torch.rand(2, 3, 32, 32)
    tokens = network.forward_features(images)
    read, named = frozen.read_out(network, "vit_mini_patch8", kind)
    wanted = {"class-token": [tokens[:, 0]], "patches": [tokens[:, 3:].mean(1)]}
    wanted["class-token+patches"] = wanted["class-token"] + wanted["patches"]
    found = read(images)
    if kind == "last-4-class-tokens":
        assert found.shape == (2, 4 * 96) and torch.allclose(found[:, -96:], network(images), atol=1e-6)
    else:
        assert named == kind and torch.allclose(found, torch.cat(wanted[kind], dim=1), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "resnet51"}, "unknown backbone 'resnet51'; known: any timm:NAME, resnet50, resnet"),
        ({"name": "vit_giant_patch16"}, "SIZE mini, tiny, small, base, large, huge"),
        ({"name": "vit_tiny_patch14"}, "images of 32 pixels are no multiple of its patch of 14; 28 would be"),
        ({"name": "vit_tiny_patch8", "stem": "cifar"}, "a ViT has no stem"),
        ({"registers": 4}, "a ResNet has no backbone.registers"),
        ({"name": "timm:convnext_atto", "fixed_patch_projection": True}, "do not read backbone.fixed_patch_projection"),
    ],
)
def test_what_cannot_be_built_is_one_line(settings, message):
    with pytest.raises(UserError) as fault:
        backbones.check(BackboneConfig(**settings), [32])
    assert message in str(fault.value)


def test_what_only_timm_knows_is_one_line_too():
    with pytest.raises(UserError, match="unknown network of timm 'convnext_atom'"):
        drawn("timm:convnext_atom")
    with pytest.raises(UserError, match="does not take images of 32 pixels"):
        drawn("timm:tnt_s_legacy_patch16_224")


def test_the_patch_projection_and_the_positions_can_be_fixed():
    network = drawn("vit_tiny_patch8", positions="sincos", fixed_patch_projection=True)
    frozen_ones = {name for name, value in network.named_parameters() if not value.requires_grad}
    assert frozen_ones == {"pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"}
    places = network.pos_embed[0, 1:].reshape(4, 4, -1)
    assert torch.equal(places[0, :, :96], places[3, :, :96]) and torch.equal(places[:, 0, 96:], places[:, 3, 96:])
    assert torch.equal(places[:, 0, 96:], places[0, :, :96]) and places[0, 1, :1].item() == torch.tensor(1.0).sin()


def test_names_are_known_without_torch():
    code = "import sys; from pretrain import backbones; backbones.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_resnet50_draws_what_it_always_drew():
    from torchvision.models import resnet50

    torch.manual_seed(0)
    theirs = resnet50(zero_init_residual=True).state_dict()
    ours = drawn(backbones.USUAL).state_dict()
    assert set(theirs) - set(ours) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())


@pytest.mark.parametrize("name", resnet.NAMES)
def test_resnets_have_torchvision_s_tensors(name):
    import torchvision

    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)().state_dict()
        ours = backbones.build(BackboneConfig(name=name), side=32).state_dict()
    del theirs["fc.weight"], theirs["fc.bias"]
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.parametrize("name", ["resnet18", "vit_mini_patch8", "timm:convnext_atto"])
def test_a_run_goes_on_to_the_same_weights_and_is_converted(name, tmp_path):
    scenes.write(tmp_path / "scenes", images=40, size=32, seed=0)
    root = tmp_path / "scenes" / "unlabelled"

    def pretrain(out: str, *more: str) -> dict:
        call = ["--method", "simclr", "--recipe", "demo", "--out", str(tmp_path / out), f"data.root={root}"]
        call += [f"backbone.name={name}", "batch_size=16", "precision=fp32", "data.workers=0", "log.every=1", *more]
        assert train.main(call) == 0
        return torch.load(tmp_path / out / "backbone.pth", weights_only=True)

    whole = pretrain("whole", "epochs=2", "log.keep_every=1")
    saved = tmp_path / "resumed" / "checkpoint.pth"
    saved.parent.mkdir()
    middle = min((tmp_path / "whole" / "checkpoints").iterdir())
    saved.write_bytes(middle.read_bytes())
    (saved.parent / "config.yaml").write_bytes((tmp_path / "whole" / "config.yaml").read_bytes())
    resumed = pretrain("resumed", "epochs=2", "log.keep_every=1")
    assert all(torch.equal(value, resumed["state_dict"][key]) for key, value in whole["state_dict"].items())

    ledger = conversion.convert(tmp_path / "whole" / "backbone.pth", tmp_path / "backbone.pth")
    assert max(ledger["parity"].values()) < 1e-5
    assert whole["config"]["backbone"]["name"] == name
    loaded, converted = (frozen.load(tmp_path / place) for place in ("whole/backbone.pth", "backbone.pth"))
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    a, b = (one.network(one.inputs(images)) for one in (loaded, converted))
    assert torch.allclose(a, b, atol=1e-5) and loaded.about["backbone"] == name


def test_the_command_line_names_the_families(capsys):
    with pytest.raises(SystemExit):
        train.main(["--method", "simclr", "--help"])
    shown = capsys.readouterr().out
    assert "backbone.name" in shown and all(word in shown for word in ("resnet18", "vit_SIZE", "timm:NAME"))
    assert config.TrainConfig().backbone.name == backbones.USUAL


FAMILY = """
import re
TITLE, NAMES, FEATURES, REFERENCE = "MLP", ("mlp_small",), ("pooled",), "none"
SIGN = WHOLE = re.compile("^mlp")

def knows(name): return name in NAMES
def fault(settings, sides): return "too large" if max(sides) > 64 else None
def build(settings, *, side):
    from torch import nn
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 5))
    network.width = 5
    return network
"""


def test_a_new_family_is_one_new_file(tmp_path, monkeypatch, capsys):
    for path in backbones.FOLDER.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "mlp.py").write_text(FAMILY)
    monkeypatch.setattr(backbones, "FOLDER", tmp_path)
    monkeypatch.setattr(backbones, "__path__", [*backbones.__path__, str(tmp_path)])
    backbones.families.cache_clear()
    try:
        assert drawn("mlp_small")(torch.zeros(2, 3, 32, 32)).shape == (2, 5)
        with pytest.raises(UserError, match="backbone.name=mlp_small: too large"):
            backbones.check(BackboneConfig(name="mlp_small"), [224])
        with pytest.raises(SystemExit):
            train.main(["--method", "simclr", "--help"])
        assert "mlp_small" in capsys.readouterr().out
    finally:
        backbones.families.cache_clear()
        sys.modules.pop("pretrain.backbones.mlp", None)
