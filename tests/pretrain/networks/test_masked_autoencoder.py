"""The masked auto-encoder against Hugging Face's, and what is promised of it: visible patches only, the same masks."""

import json

import pytest
import torch
from PIL import Image

from pretrain import methods, train, training_loop
from pretrain.backbones import vit
from pretrain.checkpoints import checkpoint
from pretrain.data.patch_orders import patch_orders
from pretrain.networks.masked_autoencoder import MaskedAutoencoder, images_of, patches_of
from pretrain.networks.masked_settings import MaskedConfig
from runtime.command_line import UserError
from transfer.backbones import frozen

SMALL = {"decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2}
KEYS = torch.tensor([(0, 0, 3), (0, 0, 7), (0, 1, 3)])
ORDERS = patch_orders(KEYS, 16)


def encoder(**options):
    """A ViT of two blocks, 24 features and three heads for images of 32 pixels in patches of 8."""
    network = vit._vit(vit.Size(width=24, depth=2, heads=3), 8, grid=4, **options)
    vit._fix_positions(network, 24, 4)
    return network


def autoencoder(*, of=encoder, **settings) -> MaskedAutoencoder:
    torch.manual_seed(0)
    network = MaskedAutoencoder(of(), MaskedConfig(**{**SMALL, **settings}))
    with torch.no_grad():  # nothing at zero or one, where a wrong place would not show
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network


def images(n: int = 3) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def in_hugging_face(network: MaskedAutoencoder):
    """The same weights in transformers' ViTMAEForPreTraining."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    sizes |= {"image_size": 32, "patch_size": 8, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1}
    sizes |= {"decoder_num_attention_heads": 2, "decoder_intermediate_size": 64, "layer_norm_eps": 1e-6}
    c = network.config
    theirs = ViTMAEForPreTraining(ViTMAEConfig(**sizes, mask_ratio=c.mask_ratio, norm_pix_loss=c.normalised_target))
    state = {}
    for name, value in network.state_dict().items():
        parent = "decoder." if name.startswith(("decoder_", "mask_token")) else "vit."
        name = name.removeprefix("backbone.").replace("decoder_blocks.", "decoder_layers.")
        if ".attn.qkv." in name:
            for part, third in zip("qkv", value.chunk(3), strict=True):
                state[_theirs(parent + name.replace("attn.qkv", f"attention.{part}_proj"))] = third
        else:
            state[_theirs(parent + name.replace("attn.proj", "attention.o_proj"))] = value
    theirs.load_state_dict(state)
    return theirs


def _theirs(name: str) -> str:
    for ours, other in {
        "vit.blocks.": "vit.layers.",
        "vit.norm.": "vit.layernorm.",
        "vit.cls_token": "vit.embeddings.cls_token",
        "vit.pos_embed": "vit.embeddings.position_embeddings",
        "vit.patch_embed.proj.": "vit.embeddings.patch_embeddings.projection.",
        ".norm1.": ".layernorm_before.",
        ".norm2.": ".layernorm_after.",
    }.items():
        name = name.replace(ours, other)
    return name


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"normalised_target": False, "mask_ratio": 0.4}], ids=["released", "pixels"])
def test_loss_gradient_and_class_token_are_hugging_faces(settings):
    network = autoencoder(**settings)
    theirs = in_hugging_face(network)
    noise = patch_orders(KEYS, 16).argsort(1).float()  # its order is the noise's
    f, errors = network([images()], ORDERS).online
    expected = theirs(images(), noise=noise)
    torch.testing.assert_close(errors.mean(), expected.loss, rtol=1e-6, atol=1e-6)
    errors.mean().backward()
    expected.loss.backward()
    for ours, other in (
        (network.backbone.patch_embed.proj.weight, theirs.vit.embeddings.patch_embeddings.projection.weight),
        (network.mask_token, theirs.decoder.mask_token),
        (network.decoder_pred.weight, theirs.decoder.decoder_pred.weight),
    ):
        torch.testing.assert_close(ours.grad, other.grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(f, theirs.vit(images(), noise=noise).last_hidden_state[:, 0], rtol=1e-5, atol=1e-5)


def test_the_encoder_computes_class_token_and_visible_patches_alone():
    network, seen = autoencoder(), []
    network.backbone.blocks[0].register_forward_hook(lambda block, inputs, output: seen.append(inputs[0].shape))
    network([images()], ORDERS)
    assert seen == [(3, 1 + 4, 24)]


def test_what_is_masked_is_not_seen_and_what_is_visible_is_no_target():
    """Other pixels under the mask change no class token; other pixels beside it do, and are not among the targets."""
    network, pixels = autoencoder(), patches_of(images(), 8)
    order = patch_orders(KEYS, 16)
    hidden, shown = (
        images_of(pixels.scatter_add(1, places[..., None].expand(-1, -1, 192), torch.ones_like(pixels)), 8)
        for places in (order[:, 4:], order[:, :4])
    )
    f, errors = network([images()], ORDERS).online
    assert torch.equal(network([hidden], ORDERS).online[0], f)
    assert not torch.allclose(network([shown], ORDERS).online[0], f)
    plain = autoencoder(normalised_target=False)
    assert not torch.allclose(plain([hidden], ORDERS).online[1], plain([images()], ORDERS).online[1])
    # normalised targets do not know the mean of their patch
    torch.testing.assert_close(network([hidden], ORDERS).online[1], errors, rtol=1e-4, atol=1e-4)


def test_masks_are_functions_of_seed_epoch_and_index():
    orders = patch_orders(torch.tensor([(0, 0, 3), (0, 0, 3), (0, 0, 4), (0, 1, 3), (1, 0, 3)]), 196)
    assert torch.equal(orders[0], orders[1]) and torch.equal(orders.sort(1).values, torch.arange(196).expand(5, -1))
    assert all(not torch.equal(orders[0], other) for other in orders[2:])


def test_every_patch_is_seen_equally_often():
    seen = patch_orders(torch.tensor([(0, 0, index) for index in range(4000)]), 16)[:, :4]
    counts = torch.bincount(seen.reshape(-1), minlength=16)
    assert (counts - 1000).abs().max() < 4 * (4000 * 0.25 * 0.75) ** 0.5


def test_patches_lie_in_rows_and_come_back():
    whole = images()
    patches = patches_of(whole, 8)
    assert torch.equal(images_of(patches, 8), whole)
    assert torch.equal(patches[:, 5].reshape(3, 8, 8, 3), whole[:, :, 8:16, 8:16].permute(0, 2, 3, 1))


def test_a_reconstruction_keeps_what_is_visible_and_is_perfect_where_the_prediction_is(monkeypatch):
    network, order = autoencoder(), patch_orders(KEYS, 16)
    targets = network._targets(patches_of(images(), 8))[0].gather(1, order[:, 4:, None].expand(-1, -1, 192))
    monkeypatch.setattr(network, "decode", lambda latent, order: targets)
    seen, rebuilt = network.reconstruct(images(), KEYS)
    torch.testing.assert_close(rebuilt, images(), rtol=1e-4, atol=1e-5)
    kept = patches_of(seen, 8).abs().sum(2) > 0
    assert kept.sum(1).tolist() == [4, 4, 4] and torch.equal(seen * (seen != 0), images() * (seen != 0))


@pytest.mark.parametrize("options", [{"reg_tokens": 2}, {"init_values": 0.1}], ids=["registers", "layer scale"])
def test_every_parameter_of_a_vit_with_more_to_it_has_a_part_in_the_loss(options):
    network = autoencoder(of=lambda: encoder(**options))
    network([images()], ORDERS).online[1].mean().backward()
    idle = [name for name, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle and not network.backbone.pos_embed.requires_grad


def test_recomputing_changes_no_gradient():
    gradients = []
    for recompute in (False, True):
        network = autoencoder(recompute=recompute)
        network([images()], ORDERS).online[1].mean().backward()
        gradients.append([p.grad for p in network.parameters() if p.requires_grad])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", ["u_mae", "m_mae"])
def test_the_released_variant_weighs_as_8_processes_do_and_norms_twice(name, capsys):
    module = methods.load(name)
    written, released = (
        module.Method(encoder(), module.Config(**SMALL, weight=0.08, variant=variant))
        for variant in ("written", "released")
    )
    assert (written.weight, released.weight) == (0.08, 0.01)
    assert "the regulariser weighs 0.08 / 8 = 0.01" in capsys.readouterr().err
    with torch.no_grad():
        released.backbone.norm.bias.fill_(1.0)
    written.load_state_dict(released.state_dict())
    (once, errors), (twice, same) = (network([images()], ORDERS).online for network in (written, released))
    torch.testing.assert_close(twice, released.backbone.norm(once))
    assert torch.equal(errors, same) and not torch.allclose(once, twice)


RUN = ["--method", "m_mae", "--recipe", "demo", "epochs=2", "batch_size=16", "data.workers=0", "log.every=1"]
BF16 = [*RUN, "precision=bf16", "method.recompute=true", "backbone.drop_path=0.1"]


@pytest.mark.slow
def test_stopped_and_resumed_it_has_the_bits_of_an_undisturbed_run(scenes, tmp_path, monkeypatch):
    """bf16, recomputed activations and dropped blocks; the masks after the stop are those that would have come."""

    class Stop:
        exit_code, left = 75, 3

        @property
        def signal(self):
            self.left -= 1
            return None if self.left else 15

    def run(out) -> int:
        return train.main([*BF16, "--out", str(tmp_path / out), f"data.root={scenes / 'unlabelled'}"])

    assert run("whole") == 0
    with monkeypatch.context() as patched:
        patched.setattr(training_loop, "StopRequest", Stop)
        assert run("parts") == 75
    assert run("parts") == 0
    whole, parts = (checkpoint.read(tmp_path / out / "checkpoint.pth")["model"] for out in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    with pytest.raises(UserError, match="m_mae has no projector; give --layer backbone"):
        frozen.load(tmp_path / "whole" / "checkpoint.pth", "projector", unfinished=True)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert {"reconstruction", "regulariser", "effective_rank", "matrix_entropy", "matrix_entropy_2"} <= lines[-1].keys()
    assert "mutual_information_2" not in lines[-1], "the errors of the images are no second view"
    path, images = tmp_path / "whole" / "checkpoint.pth", torch.rand(2, 3, 32, 32)
    at = {layer: frozen.load(path, layer, unfinished=True).network for layer in ("backbone", "embeddings")}
    with torch.no_grad():
        assert torch.equal(at["backbone"](images), at["embeddings"](images))
    picture = Image.open(tmp_path / "whole" / "reconstructions.png")
    assert picture.size == (3 * (128 + 4) + 4, 8 * (128 + 4) + 4 + 14)
    assert (tmp_path / "whole" / "reconstructions.png").read_bytes() == (
        tmp_path / "parts" / "reconstructions.png"
    ).read_bytes()


@pytest.mark.parametrize(
    "settings, message",
    [
        (["method.mask_ratio=1"], "method.mask_ratio must be above 0, below 1, got 1"),
        (["method.mask_ratio=0"], "method.mask_ratio must be above 0, below 1, got 0"),
        (["method.mask_ratio=0.999"], "method.mask_ratio=0.999 leaves none of the 64 patches"),
        (["views.size=60"], "images of 60 pixels are no multiple of its patch of 8; 64 would be"),
        (["method.mu=-1"], "method.mu must be 0 or more, got -1"),
        (["method.weight=-0.01"], "method.weight must be 0 or more, got -0.01"),
        (["backbone.name=resnet50"], "m_mae masks the patches of a ViT, and backbone.name=resnet50 is none"),
        (["backbone.name=timm:vit_tiny_patch16_224"], "backbone.name=timm:vit_tiny_patch16_224 is none of this suite"),
        (["backbone.stem=cifar"], "a ViT has no stem"),
        (["method.decoder_width=192"], r"is wider than the encoder vit_mini_patch8 \(96\)"),
        (["method.decoder_width=66"], "method.decoder_width=66 must be a multiple of method.decoder_heads=4, and of 4"),
        (["views.recipe=symmetric"], "m_mae takes 1 views of an image"),
        (["batch_size=1"], "batch_size must be at least 2, got 1"),
    ],
)
def test_what_cannot_be_is_one_line(settings, message):
    with pytest.raises(UserError, match=message) as refused:
        train.parse(["--method", "m_mae", "--recipe", "demo", "--out", "x", "data.root=y", *settings])
    assert all(len(fault) < 300 for fault in refused.value.faults)


def test_a_process_with_a_single_image_is_refused(monkeypatch):
    settings = train.parse([*RUN, "--out", "x", "data.root=y", "batch_size=8"]).config
    monkeypatch.setattr(training_loop.distributed, "world_size", lambda: 8)
    with pytest.raises(UserError, match="batch_size=8 cannot be shared by 8 processes"):
        training_loop.steps_per_epoch(1000, settings)
