"""ViTs and networks of timm, small and random, in files as their authors write them, compute the same in Detectron2.

The reference is the source's own implementation (timm, torchvision, transformers) without its class token.
"""

import argparse
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.modeling.backbone.utils import get_abs_pos
from safetensors.torch import save_file
from timm.layers.pos_embed import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from pretrain.backbones.vit import sincos_positions
from runtime.command_line import UserError
from transfer.backbones import frozen
from transfer.checkpoints import conversion, inspection, weights
from transfer.checkpoints.families import Wishes
from transfer.checkpoints.format_spec import HALF
from transfer.checkpoints.renaming import timm as of_timm
from transfer.checkpoints.renaming import vit as renaming

WIDTH, DEPTH, HEADS, GRID = 48, 2, 4, 4
FOUR = Wishes(heads=HEADS)
NAMED = {"pixel_mean": [127.5] * 3, "pixel_std": [127.5] * 3}


def drawn(network: nn.Module) -> nn.Module:
    """``network`` with values in every tensor, so that a swapped or forgotten one is seen."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.5 if parameter.ndim == 1 else 0, 0.15, generator=generator)
    return network.eval()


def vit(**options) -> VisionTransformer:
    usual = {"img_size": 16 * GRID, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, "num_classes": 0}
    return drawn(VisionTransformer(**{**usual, **options}))


def prefixed(network: nn.Module, prefix: str) -> dict:
    return {prefix + name: value for name, value in network.state_dict().items()}


def mae_training(network):
    heads = {"mask_token": torch.zeros(1, 1, 8), "decoder_embed.weight": torch.zeros(8, WIDTH)}
    blocks = {f"decoder_blocks.0.{n}": v for n, v in vit(depth=1, embed_dim=24).blocks[0].state_dict().items()}
    return {"model": {**network.state_dict(), **heads, **blocks, "fc.weight": torch.zeros(2, 2)}, "epoch": 799}


def moco_v3(network):
    state = prefixed(network, "module.base_encoder.") | prefixed(vit(), "module.momentum_encoder.")
    heads = {"module.base_encoder.head.0.weight": torch.zeros(2, 2), "module.predictor.0.weight": torch.zeros(2, 2)}
    return {"state_dict": state | heads, "epoch": 300, "arch": "vit_small"}


def dino(network, masked=False):
    student = prefixed(vit(), "module.backbone.")
    if masked:
        student["module.backbone.masked_embed"] = torch.zeros(1, WIDTH)
    head = {"head.mlp.0.weight": torch.zeros(2, 2)}
    return {"teacher": prefixed(network, "backbone.") | head, "student": student, "args": argparse.Namespace(lr=1)}


def dinov2(network, chunked=False):
    state = {name.replace("reg_token", "register_tokens"): value for name, value in network.state_dict().items()}
    if chunked:
        state = {n.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.1.1."): v for n, v in state.items()}
    return {**state, "mask_token": torch.zeros(1, WIDTH)}


def dinov2_registers(network):
    """DINOv2's registers have no places, its class token has one."""
    place = torch.full((1, 1, WIDTH), 0.25)
    state = network.state_dict()
    state |= {"cls_token": state["cls_token"] - place, "pos_embed": torch.cat([place, state["pos_embed"]], dim=1)}
    state["register_tokens"] = state.pop("reg_token")
    return {**state, "mask_token": torch.zeros(1, WIDTH)}


def dinov3(network):
    """Rotary positions, registers called storage, and a mask over the bias of the keys."""
    state = {name.replace("reg_token", "storage_tokens"): v for name, v in network.state_dict().items()}
    mask = torch.ones(3 * WIDTH)
    mask[WIDTH : 2 * WIDTH] = 0
    for block in range(DEPTH):
        state[f"blocks.{block}.attn.qkv.bias_mask"] = mask
        network.blocks[block].attn.qkv.bias.mul_(mask)
    return {n: v for n, v in state.items() if n != "pos_embed"} | {"rope_embed.periods": torch.ones(3)}


def timm_training(network):
    other = {"state_dict": vit().state_dict(), "state_dict_ema": network.state_dict() | HEAD}
    return {**other, "epoch": 9, "arch": "vit_small_patch16_224", "version": 2, "optimizer": {}}


def distilled(network):
    state = {name.replace("reg_token", "dist_token"): value for name, value in network.state_dict().items()}
    return {"model": state | HEAD | {"head_dist.weight": torch.zeros(2, WIDTH)}}


def beit(network):
    """BEiT without positions of its own has q and v biases, gammas and tables."""
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("attn.qkv.bias"):
            q, k, v = value.chunk(3)
            k.zero_()
            state |= {name.replace("qkv.bias", "q_bias"): q, name.replace("qkv.bias", "v_bias"): v}
            state[name.replace("qkv.bias", "relative_position_bias_table")] = torch.zeros(52, HEADS)
        elif name != "pos_embed":
            state[name.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2")] = value
    return {"model": {**state, "head.weight": torch.zeros(2, WIDTH), "fc_norm.weight": torch.ones(WIDTH)}}


SCALED = {"init_values": 0.1}
REGISTERS = {**SCALED, "reg_tokens": 4, "no_embed_class": True}
NO_POSITIONS = Wishes(heads=0, without_positions=True)
HEAD = {"head.weight": torch.zeros(2, WIDTH)}
LAYOUTS = {
    "mae": ("MAE encoder, or", {}, lambda n: {"model": n.state_dict()}, FOUR),
    "mae training": ("MAE, U-MAE or M-MAE", {}, mae_training, FOUR),
    "moco v3": ("MoCo v3 (ViT)", {}, moco_v3, FOUR),
    "dino": ("DINO or iBOT", {}, dino, FOUR),
    "ibot": ("DINO or iBOT", {}, lambda n: dino(n, masked=True), FOUR),
    "dino backbone": ("DINO backbone", {}, lambda n: n.state_dict(), FOUR),
    "compiled, wrapped": ("DINO backbone", {}, lambda n: prefixed(n, "_orig_mod.module."), FOUR),
    "lightning": ("ViT alone under `state_dict`", {}, lambda n: {"state_dict": prefixed(n, "model._orig_mod.")}, FOUR),
    "dinov2": ("DINOv2 backbone", SCALED, dinov2, FOUR),
    "dinov2 in chunks, registers": ("DINOv2 backbone", SCALED, lambda n: dinov2(n, True), FOUR),
    "dinov2 training": (
        "DINOv2 (training checkpoint)",
        SCALED,
        lambda n: {"teacher": {**prefixed(n, "backbone."), "dino_head.mlp.0.weight": torch.zeros(2, 2)}},
        FOUR,
    ),
    "deit": ("DeiT, or", {}, lambda n: {"model": n.state_dict() | HEAD}, FOUR),
    "timm": ("timm ViT", {}, lambda n: n.state_dict() | HEAD, FOUR),
    "deit distilled": ("DeiT, or", {"reg_tokens": 1}, distilled, FOUR),
    "dinov2, registers": ("DINOv2 backbone", REGISTERS, dinov2_registers, FOUR),
    "dinov3": ("DINOv3 ViT", REGISTERS, dinov3, Wishes(heads=HEADS, without_positions=True)),
    "timm training": ("timm training", {}, timm_training, FOUR),
    "timm with registers": ("timm ViT", REGISTERS, lambda n: n.state_dict(), FOUR),
    "beit": ("BEiT", SCALED, beit, NO_POSITIONS),
}


def patches(network: VisionTransformer, *, positions: bool = True) -> torch.Tensor:
    """What timm's blocks make of the patches of one image alone."""
    tokens = network.patch_embed(image())
    if positions:
        tokens = tokens + network.pos_embed[:, -tokens.shape[1] :]
    return network.blocks(tokens)


def image() -> torch.Tensor:
    return torch.rand(1, 3, 16 * GRID, 16 * GRID, generator=torch.Generator().manual_seed(1))


def in_detectron2(path) -> torch.Tensor:
    """What Detectron2's own ViT makes of it, from the file and its record alone."""
    from detectron2.modeling import ViT

    import transfer.detection.vit  # noqa: F401

    content = weights.read(path)
    record, arrays = content[weights.ABOUT]["backbone"], content["model"]
    network = ViT(
        img_size=16 * GRID,
        embed_dim=record["width"],
        depth=record["depth"],
        num_heads=record["heads"],
        use_abs_pos=record["grid"] > 0,
        use_rel_pos=True,
        pretrain_img_size=16 * record["grid"],
        pretrain_use_cls_token=record["class_token"],
        norm_layer=lambda width: nn.LayerNorm(width, eps=1e-6),
    )
    given = {name.removeprefix(renaming.PREFIX): torch.from_numpy(array) for name, array in arrays.items()}
    result = network.load_state_dict(given, strict=False)
    assert not result.unexpected_keys and all(".rel_pos_" in name for name in result.missing_keys)
    assert len(result.missing_keys) == 2 * record["depth"]
    return network(image())["last_feat"].flatten(2).transpose(1, 2)


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / a.abs().max()).item()


@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_a_vit_of_every_layout_computes_the_same_in_detectron2(tmp_path, layout):
    name, options, build, wishes = LAYOUTS[layout]
    network = vit(**options)
    torch.save(build(network), tmp_path / "vit.pth")
    ledger = conversion.convert(tmp_path / "vit.pth", tmp_path / "vit.pkl", input=NAMED, wishes=wishes)
    assert ledger["format"].startswith(name)
    assert ledger["parity"].keys() == {"tokens", "block 1", "block 2"} and max(ledger["parity"].values()) < 1e-5
    positions = not wishes.without_positions
    assert distance(patches(network, positions=positions), in_detectron2(tmp_path / "vit.pkl")) < 1e-5
    assert len(weights.read(tmp_path / "vit.pkl")["model"]) == 12 * DEPTH + 2 + positions
    kept = {entry["to"] for entry in ledger["tensors"].values() if "to" in entry}
    assert kept == weights.read(tmp_path / "vit.pkl")["model"].keys()
    assert all(entry.get("dropped", entry.get("to")) for entry in ledger["tensors"].values())


@pytest.mark.parametrize("layout", [layout for layout, entry in LAYOUTS.items() if not entry[3].without_positions])
@torch.no_grad()
def test_a_vit_of_every_layout_gives_the_probes_its_class_token(tmp_path, layout):
    _, options, build, wishes = LAYOUTS[layout]
    network = vit(**options)
    torch.save(build(network), tmp_path / "vit.pth")
    conversion.convert(tmp_path / "vit.pth", tmp_path / "backbone.pth", input=NAMED, wishes=wishes)
    assert distance(network(image()), frozen.load(tmp_path / "backbone.pth").network(image())) < 1e-5


@torch.no_grad()
def test_a_vit_without_a_table_of_positions_is_refused_by_the_probes(tmp_path):
    torch.save(beit(vit(**SCALED)), tmp_path / "beit.pth")
    conversion.convert(tmp_path / "beit.pth", tmp_path / "backbone.pth", input=NAMED, wishes=NO_POSITIONS)
    with pytest.raises(UserError, match="its ViT lacks pos_embed"):
        frozen.load(tmp_path / "backbone.pth")


@torch.no_grad()
def test_a_wrong_number_of_heads_is_another_network(tmp_path):
    network = vit()
    torch.save({"model": network.state_dict()}, tmp_path / "mae.pth")
    conversion.convert(tmp_path / "mae.pth", tmp_path / "mae.pkl", wishes=Wishes(heads=6))
    assert distance(patches(network), in_detectron2(tmp_path / "mae.pkl")) > 1e-3
    with pytest.raises(UserError, match="no tensor shows how many attention heads a ViT of width 48 has.*--heads N"):
        conversion.convert(tmp_path / "mae.pth", tmp_path / "other.pkl")


@pytest.mark.parametrize("kind", ["ViT", "ViTMAE", "Dinov2", "Dinov2WithRegisters", "ViT in memory"])
@torch.no_grad()
def test_hugging_face_files_take_heads_and_scale_from_the_json_beside_them(tmp_path, kind):
    import transformers

    name = kind.split()[0]
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "image_size": 16 * GRID}
    sizes |= {"intermediate_size": 4 * WIDTH, "patch_size": 16, "layer_norm_eps": 1e-6}
    config = getattr(transformers, f"{name}Config")(**sizes)
    network = drawn(getattr(transformers, f"{name}Model")(config))
    network.save_pretrained(tmp_path)
    if kind != name:
        save_file(
            {f"vit.{n}": value.contiguous() for n, value in network.state_dict().items()},
            tmp_path / "model.safetensors",
        )
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    told = inspection.report(tmp_path / "model.safetensors")
    assert "input       RGB, mean [127.5, 127.5, 127.5], std [127.5, 127.5, 127.5]" in told.splitlines()
    ledger = conversion.convert(tmp_path / "model.safetensors", tmp_path / "vit.pkl")
    assert ledger["input"] == HALF and ledger["backbone"]["heads_from"] == "config.json beside it"
    embeddings = network.embeddings
    tokens = embeddings.patch_embeddings(image()) + embeddings.position_embeddings[:, 1:]
    for layer in network.encoder.layer if hasattr(network, "encoder") else network.layers:
        tokens = layer(tokens)
        tokens = tokens[0] if isinstance(tokens, tuple) else tokens
    assert distance(tokens, in_detectron2(tmp_path / "vit.pkl")) < 1e-5


@torch.no_grad()
def test_torchvisions_vit_and_googles_npz(tmp_path):
    from torchvision.models import VisionTransformer as Theirs

    network = drawn(Theirs(16 * GRID, 16, DEPTH, HEADS, WIDTH, 4 * WIDTH, num_classes=2))
    torch.save(network.state_dict(), tmp_path / "tv.pth")
    conversion.convert(tmp_path / "tv.pth", tmp_path / "tv.pkl", wishes=FOUR)
    tokens = network._process_input(image()) + network.encoder.pos_embedding[:, 1:]
    assert distance(network.encoder.layers(tokens), in_detectron2(tmp_path / "tv.pkl")) < 1e-5

    generator = np.random.default_rng(0)
    np.savez(tmp_path / "vit.npz", **{n: generator.normal(0.1, 0.1, s).astype("float32") for n, s in google().items()})
    ledger = conversion.convert(tmp_path / "vit.npz", tmp_path / "npz.pkl")
    assert ledger["backbone"]["heads_from"] == "the shape of a tensor" and ledger["input"] == HALF
    own = vit(num_classes=2)
    own.load_pretrained(str(tmp_path / "vit.npz"))
    assert distance(patches(own), in_detectron2(tmp_path / "npz.pkl")) < 1e-5


def google() -> dict[str, tuple[int, ...]]:
    size = WIDTH // HEADS
    shapes = {"cls": (1, 1, WIDTH), "embedding/kernel": (16, 16, 3, WIDTH), "embedding/bias": (WIDTH,)}
    shapes |= {"head/kernel": (WIDTH, 2), "head/bias": (2,)}
    shapes["Transformer/posembed_input/pos_embedding"] = (1, GRID**2 + 1, WIDTH)
    shapes |= {f"Transformer/encoder_norm/{part}": (WIDTH,) for part in ("scale", "bias")}
    for i in range(DEPTH):
        at = f"Transformer/encoderblock_{i}"
        for part in ("query", "key", "value"):
            shapes[f"{at}/MultiHeadDotProductAttention_1/{part}/kernel"] = (WIDTH, HEADS, size)
            shapes[f"{at}/MultiHeadDotProductAttention_1/{part}/bias"] = (HEADS, size)
        shapes[f"{at}/MultiHeadDotProductAttention_1/out/kernel"] = (HEADS, size, WIDTH)
        shapes[f"{at}/MultiHeadDotProductAttention_1/out/bias"] = (WIDTH,)
        for norm in (0, 2):
            shapes |= {f"{at}/LayerNorm_{norm}/{part}": (WIDTH,) for part in ("scale", "bias")}
        for dense, (into, out) in enumerate(((WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH))):
            shapes[f"{at}/MlpBlock_3/Dense_{dense}/kernel"], shapes[f"{at}/MlpBlock_3/Dense_{dense}/bias"] = (
                (into, out),
                (out,),
            )
    return shapes


@pytest.mark.parametrize(
    ("options", "changed", "message"),
    [
        ({}, {"pos_embed": torch.zeros(1, 19, WIDTH)}, "19 places, which are no square grid"),
        ({"patch_size": 14, "img_size": 56}, {}, "patches of 14 pixels; .*--patch 16 resamples"),
        ({}, {"blocks.0.mlp.w12.weight": torch.zeros(2, 2)}, "gated .SwiGLU."),
        ({}, {"norm_pre.weight": torch.zeros(2)}, "norm before the first block, as CLIP's"),
        ({}, {"pos_embed": None}, "no table of positions.*--without-positions"),
        ({}, {"patch_embed.proj.weight": torch.zeros(WIDTH, 1, 16, 16)}, "no projection of square RGB patches"),
        ({}, {"blocks.1.mlp.fc1.weight": None}, "lacks 1 of 26 tensors, as blocks.1.mlp.fc1.weight"),
        (
            {},
            {"blocks.0.norm1.bias": torch.full((WIDTH,), torch.nan)},
            "NaN or infinity, the first blocks.0.norm1.bias",
        ),
        ({"mlp_ratio": 2}, {}, "blocks.0.mlp.fc1.weight is .96, 48., expected .192, 48."),
        ({}, {"surprise.weight": torch.zeros(2)}, "1 tensors a ViT has not, the first surprise.weight"),
    ],
)
def test_what_vitdet_cannot_hold_is_refused_in_one_line(tmp_path, options, changed, message):
    state = {name: value for name, value in (vit(**options).state_dict() | changed).items() if value is not None}
    torch.save({"model": state}, tmp_path / "vit.pth")
    with pytest.raises(UserError, match=message) as caught:
        conversion.convert(tmp_path / "vit.pth", tmp_path / "vit.pkl", wishes=FOUR)
    assert "\n" not in str(caught.value) and not (tmp_path / "vit.pkl").exists()


def hugging_face(network) -> dict:
    state = {}
    for name, value in network.state_dict().items():
        for old, new in HUGGING_FACE.items():
            name = re.sub(old, new, name)
        parts = zip(("query", "key", "value"), value.chunk(3), strict=True) if ".qkv." in name else (("", value),)
        state |= {name.replace(".qkv.", f".attention.{part}."): third for part, third in parts}
    return state


HUGGING_FACE = {
    r"^(cls_token)": r"embeddings.\1",
    r"^pos_embed": "embeddings.position_embeddings",
    r"^patch_embed\.proj": "embeddings.patch_embeddings.projection",
    r"^norm\.": "layernorm.",
    r"^blocks": "encoder.layer",
    r"norm1": "layernorm_before",
    r"norm2": "layernorm_after",
    r"attn\.proj": "attention.output.dense",
    r"attn\.qkv": "attention.qkv",
    r"mlp\.fc1": "intermediate.dense",
    r"mlp\.fc2": "output.dense",
}


def bare(network) -> dict:
    return network.state_dict() | HEAD


QUERY, KEY = (f"encoder.layer.1.attention.attention.{part}" for part in ("query", "key"))


@pytest.mark.parametrize(
    ("build", "changed", "message"),
    [
        (bare, {"blocks.1.attn.qkv.bias": None}, "lacks 1 of 30 tensors, as blocks.1.attn.qkv.bias"),
        (hugging_face, {f"{KEY}.bias": None}, "lacks 1 of 26 tensors, as blocks.1.attn.k.bias"),
        (hugging_face, {f"{KEY}.weight": None}, "lacks 1 of 26 tensors, as blocks.1.attn.k.weight"),
        (hugging_face, {f"{QUERY}.weight": torch.ones(9, 9)}, r"blocks.1.attn.q.weight is \[9, 9\] and .*one shape"),
        (beit, {"blocks.1.attn.v_bias": None}, "lacks 1 of 30 tensors, as blocks.1.attn.v.bias"),
        (beit, {f"blocks.1.attn.{part}_bias": None for part in "qv"}, "lacks 1 of 30 .* blocks.1.attn.qkv.bias"),
        (beit, {"blocks.0.gamma_1": None}, "lacks 1 of 30 tensors, as blocks.0.ls1.gamma"),
        (bare, {"blocks.0.ls1.gamma": None}, "lacks 1 of 30 tensors, as blocks.0.ls1.gamma"),
        (bare, {"blocks.1.ls2.gamma": None}, "lacks 1 of 30 tensors, as blocks.1.ls2.gamma"),
        (bare, {"blocks.1.ls2.gamma": torch.ones(7)}, r"blocks.1.ls2.gamma is \[7\], expected \[48\]"),
        (bare, {"reg_token": torch.ones(4)}, r"reg_token is \[4\], expected \[1, tokens, 48\]"),
        (bare, {"cls_token": torch.tensor(1.0)}, r"cls_token is \[\], expected \[1, tokens, 48\]"),
        (bare, {"norm.weight": torch.ones(WIDTH).to(torch.float8_e4m3fn)}, "norm.weight holds torch.float8_e4m3fn"),
        (
            dinov3,
            {"blocks.0.attn.qkv.bias_mask": torch.ones(5)},
            r"bias_mask is \[5\] and what belongs with it \[\[144\]\]",
        ),
    ],
)
@torch.no_grad()
def test_a_vit_that_lacks_a_part_which_another_block_has_is_refused_in_one_line(tmp_path, build, changed, message):
    content = build(vit(**{hugging_face: {}, dinov3: REGISTERS}.get(build, SCALED)))
    state = content.get("model", content)
    state |= {name: value for name, value in changed.items() if value is not None}
    for name in (name for name, value in changed.items() if value is None):
        del state[name]
    torch.save(content, tmp_path / "vit.pth")
    wishes = Wishes(heads=HEADS, without_positions=True)
    with pytest.raises(UserError, match=message) as caught:
        conversion.convert(tmp_path / "vit.pth", tmp_path / "vit.pkl", input=NAMED, wishes=wishes)
    assert "\n" not in str(caught.value) and [path.name for path in tmp_path.iterdir()] == ["vit.pth"]
    assert "refused" in inspection.report(tmp_path / "vit.pth", wishes=wishes)


@torch.no_grad()
def test_a_vit_without_any_bias_of_attention_gets_zeros(tmp_path):
    network = vit(qkv_bias=False)
    torch.save(bare(network), tmp_path / "vit.pth")
    ledger = conversion.convert(tmp_path / "vit.pth", tmp_path / "vit.pkl", input=NAMED, wishes=FOUR)
    assert len(ledger["added"]) == DEPTH
    assert distance(patches(network), in_detectron2(tmp_path / "vit.pkl")) < 1e-5


def test_a_patch_is_resampled_when_asked_and_the_ledger_says_how(tmp_path):
    torch.save({"model": vit(patch_size=14, img_size=56).state_dict()}, tmp_path / "vit.pth")
    wishes = Wishes(heads=HEADS, patch=16)
    ledger = conversion.convert(tmp_path / "vit.pth", tmp_path / "vit.pkl", wishes=wishes)
    told = ledger["tensors"]["patch_embed.proj.weight"]["resampled"]
    assert (told["from"], told["to"]) == ([14, 14], [16, 16]) and "FlexiViT" in told["method"]
    assert ledger["backbone"]["patch"] == 16 and max(ledger["parity"].values()) < 1e-5


def as_dino(table: torch.Tensor, side: int) -> torch.Tensor:
    """facebookresearch/dino, vision_transformer.py, interpolate_pos_encoding: the scale is 0.1 patches too large."""
    return resized(table, scale_factor=(side + 0.1) / math.isqrt(table.shape[1] - 1))


def resized(table: torch.Tensor, **how) -> torch.Tensor:
    grid = table[:, 1:].unflatten(1, [math.isqrt(table.shape[1] - 1)] * 2).permute(0, 3, 1, 2)
    return nn.functional.interpolate(grid, mode="bicubic", **how).flatten(2).transpose(1, 2)


@pytest.mark.parametrize(("grid", "side", "detector", "probe"), [(14, 64, 0.0030, 0.0098), (37, 16, 0.0343, 0.0481)])
def test_positions_at_another_grid_are_those_of_vitdet_and_of_dinov2_with_registers_and_near_dinos(
    grid, side, detector, probe
):
    table = torch.cat([torch.zeros(1, 1, 384), sincos_positions(384, grid).reshape(1, -1, 384)], dim=1)
    in_detector = get_abs_pos(table, True, (side, side)).flatten(1, 2)
    in_probe = resample_abs_pos_embed(table, [side, side])[:, 1:]
    assert torch.equal(in_detector, resized(table, size=(side, side)))
    assert torch.equal(in_probe, resized(table, size=(side, side), antialias=True))
    for found, apart in ((in_detector, detector), (in_probe, probe)):
        theirs = as_dino(table, side)
        assert ((found - theirs).norm() / theirs.norm()).item() == pytest.approx(apart, rel=0.02)


def test_the_ledger_says_who_resamples_the_positions(tmp_path):
    torch.save({"model": vit().state_dict()}, tmp_path / "vit.pth")
    ledger = conversion.convert(tmp_path / "vit.pth", tmp_path / "vit.pkl", wishes=FOUR)
    assert "4 x 4 grid" in ledger["positions"] and "get_abs_pos" in ledger["positions"]


def test_a_network_of_one_image_size_is_one_line(tmp_path):
    import timm

    torch.save(timm.create_model("mixer_s32_224").state_dict(), tmp_path / "net.pth")
    with pytest.raises(UserError, match="timm:mixer_s32_224 does not take images of any size"):
        conversion.convert(tmp_path / "net.pth", tmp_path / "n.pkl", wishes=Wishes(backbone="timm:mixer_s32_224"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("convnext_atto", ""),
        ("convnext_small", ""),  # it begins as convnext_tiny does
        ("swin_small_patch4_window7_224", ""),
        ("regnety_002", "timm:regnety_002"),
    ],
)
def test_a_network_of_timm_computes_the_same_at_every_feature_map(tmp_path, name, backbone):
    import timm

    torch.save(timm.create_model(name).state_dict(), tmp_path / "net.pth")
    ledger = conversion.convert(tmp_path / "net.pth", tmp_path / "net.pkl", wishes=Wishes(backbone=backbone))
    assert ledger["backbone"]["name"] == f"timm:{name}"
    assert len(ledger["parity"]) >= 4 and max(ledger["parity"].values()) < 1e-5
    with pytest.raises(UserError, match="is no timm:convnext_femto"):
        conversion.convert(tmp_path / "net.pth", tmp_path / "f.pkl", wishes=Wishes(backbone="timm:convnext_femto"))


def of_authors(state: dict) -> dict:
    """A ConvNeXt under the names of facebookresearch/ConvNeXt."""
    table = {
        r"stem\.": "downsample_layers.0.",
        r"stages\.(\d)\.downsample\.": r"downsample_layers.\1.",
        r"(stages\.\d)\.blocks\.": r"\1.",
        r"conv_dw": "dwconv",
        r"mlp\.fc": "pwconv",
        r"head\.(norm\.|fc\.)": lambda found: {"norm.": "norm.", "fc.": "head."}[found[1]],
    }
    for old, new in table.items():
        state = {re.sub(old, new, name): value for name, value in state.items()}
    return state


@pytest.mark.parametrize(
    ("name", "layout"), [("convnext_atto", dict), ("convnext_atto", of_authors), ("swin_tiny_patch4_window7_224", dict)]
)
@torch.no_grad()
def test_the_probes_read_a_published_convnext_or_swin_with_its_last_norm(tmp_path, name, layout):
    import timm

    network = timm.create_model(name).eval()
    last = network.head.norm if hasattr(network.head, "norm") else network.norm
    last.bias.fill_(0.5)
    torch.save(layout(network.state_dict()), tmp_path / "net.pth")
    conversion.convert(tmp_path / "net.pth", tmp_path / "backbone.pth", wishes=Wishes(backbone=f"timm:{name}"))
    pixels = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    features = network.forward_head(network.forward_features(pixels), pre_logits=True)
    assert distance(features, frozen.load(tmp_path / "backbone.pth").network(pixels)) < 1e-5


@pytest.mark.parametrize("name", ["convnext_atto", "regnety_002"])
def test_the_weights_of_a_detector_become_a_network_of_timm_again(tmp_path, name):
    import timm

    network = timm.create_model(name)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    conversion.convert(tmp_path / "net.pth", tmp_path / "net.pkl", wishes=Wishes(backbone=f"timm:{name}"))
    for source, made in (("net.pkl", "back.pth"), ("back.pth", "again.pkl")):
        conversion.convert(tmp_path / source, tmp_path / made)
    state = torch.load(tmp_path / "back.pth", weights_only=True)["state_dict"]
    assert len(state) > 100 and all(torch.equal(network.state_dict()[key], value) for key, value in state.items())
    assert (tmp_path / "again.pkl").read_bytes() == (tmp_path / "net.pkl").read_bytes()


@pytest.mark.parametrize(
    ("name", "asked", "more", "message"),
    [
        ("convnext_small", "timm:convnext_tiny", "", "no timm:convnext_tiny: it has 162 tensors .* stages.2.blocks.10"),
        (
            "convnext_atto",
            "timm:convnext_atto",
            "stages.0.blocks.0.lora_A.weight",
            "no timm:convnext_atto: it has 1 .* as stages.*lora_A",
        ),
        (
            "convnext_atto",
            "timm:convnext_atto",
            "stages.9.blocks.0.gamma",
            "is no timm:convnext_atto: it has 1 tensors .*stages.9.blocks",
        ),
        ("regnety_002", "timm:regnety_002", "adapter.weight", "no timm:regnety_002: it has 1 tensors .*adapter.weight"),
    ],
)
def test_a_tensor_that_has_no_place_in_a_network_of_timm_is_not_passed_over(name, asked, more, message):
    import timm

    with torch.device("meta"):
        state = timm.create_model(name).state_dict() | ({more: torch.zeros(2)} if more else {})
    with pytest.raises(UserError, match=message):
        of_timm.renamed(Path("net.pth"), state, Wishes(backbone=asked), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "resnet101", "wide_resnet50_2"])
def test_a_resnet_of_another_size_is_proven_as_resnet50_is(tmp_path, name):
    import torchvision

    network = getattr(torchvision.models, name)()
    for key, value in network.state_dict().items():
        if key.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    torch.save(network.state_dict(), tmp_path / "net.pth")
    ledger = conversion.convert(tmp_path / "net.pth", tmp_path / "net.pkl")
    assert ledger["backbone"]["name"] == name and max(ledger["parity"].values()) < 1e-5
