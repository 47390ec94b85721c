"""The checkpoint formats of ViTs, and of what else timm has, one entry each; ``formats.py`` has those of ResNets.

The number of heads stands here for the widths at which all files of a format have the same: no tensor shows it.
"""

import re
from collections.abc import Callable
from typing import Any

from transfer.checkpoints.families import TIMM, VIT
from transfer.checkpoints.format_spec import HALF, Format
from transfer.checkpoints.openmmlab import origin as origin_of_openmmlab
from transfer.checkpoints.origin import SUITE, of_suite

USUAL = {768: 12, 1024: 16}
"""ViT-B and ViT-L have these heads in every code known here."""
AND_HUGE = USUAL | {1280: 16}
AND_SMALL = AND_HUGE | {192: 3, 384: 6}
"""DeiT's sizes, which are timm's. MoCo v3's ViT-S has 12 heads, and so has MAE-Lite's tiny one."""

HEAD = ("classifier or the method's head", r"^(head|head_dist|lm_head|attn_pool)\.")
MASK = ("the mask token, used only in pretraining", r"^(mask_token|masked_embed)$")
DECODER = ("MAE's decoder", r"^(decoder_|mask_token$)")
RANK = ("the head of U-MAE's and M-MAE's loss", r"^(fc|fc_norm)\.")

ANY = ":|model:|state_dict:"


def _anywhere(*names: str) -> str:
    return "|".join(f"{place}{name}" for name in names for place in ANY.split("|"))


def _renamer(*table: tuple[str, str | Callable[[re.Match], str]]) -> Callable[[str], str]:
    def rename(name: str) -> str:
        for pattern, replacement in table:
            name = re.sub(pattern, replacement, name)
        return name

    return rename


dinov2 = _renamer(
    (r"^blocks\.\d+\.(\d+\.)", r"blocks.\1"),  # training files count the blocks through all chunks
    (r"^(register_tokens|storage_tokens)$", "reg_token"),
)

torchvision = _renamer(
    (r"^class_token$", "cls_token"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^encoder\.ln\.", "norm."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(3|linear_2)\.", ".mlp.fc2."),
)

hugging_face = _renamer(
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.mask_token$", "mask_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."),
    (r"^(encoder\.layer|layers|layer|encoder\.layers)\.(\d+)\.", r"blocks.\2."),
    (r"^layernorm\.", "norm."),
    (r"\.(layernorm_before|norm1)\.", ".norm1."),
    (r"\.(layernorm_after|norm2)\.", ".norm2."),
    (r"\.attention\.(attention\.)?(query|q_proj)\.", ".attn.q."),
    (r"\.attention\.(attention\.)?(key|k_proj)\.", ".attn.k."),
    (r"\.attention\.(attention\.)?(value|v_proj)\.", ".attn.v."),
    (r"\.attention\.(output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.(intermediate\.dense|mlp\.up_proj)\.", ".mlp.fc1."),
    (r"^(blocks\.\d+)\.(output\.dense|mlp\.down_proj)\.", r"\1.mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
)

google = _renamer(
    (r"^cls$", "cls_token"),
    (r"^Transformer/posembed_input/pos_embedding$", "pos_embed"),
    (r"^embedding/", "patch_embed.proj/"),
    (r"^Transformer/encoder_norm/", "norm/"),
    (r"^Transformer/encoderblock_(\d+)/", r"blocks.\1/"),
    (r"/LayerNorm_0/", "/norm1/"),
    (r"/LayerNorm_[12]/", "/norm2/"),
    (r"/MultiHeadDotProductAttention_\d/(query|key|value|out)/", lambda m: f"/attn/{GOOGLE_ATTENTION[m[1]]}/"),
    (r"/MlpBlock_\d/Dense_0/", "/mlp/fc1/"),
    (r"/MlpBlock_\d/Dense_1/", "/mlp/fc2/"),
    (r"(kernel|scale)$", "weight"),
    (r"/", "."),
)

GOOGLE_ATTENTION = {"query": "q", "key": "k", "value": "v", "out": "proj"}


def _google_shape(name: str, tensor: Any) -> Any:
    """Flax's layout as torch's: the output's axis first, heads and their channels joined."""
    if name == "patch_embed.proj.weight":
        return tensor.permute(3, 2, 0, 1)
    if match := re.search(r"\.attn\.(q|k|v|proj)\.(weight|bias)$", name):
        joined = tensor.flatten(0, 1) if match[1] == "proj" and match[2] == "weight" else tensor
        joined = joined.flatten(-2) if match[1] != "proj" else joined
        return joined.T.contiguous() if joined.ndim == 2 else joined
    return tensor.T.contiguous() if re.search(r"\.mlp\.fc[12]\.weight$", name) else tensor


def _google_heads(tensors: Any) -> int | None:
    bias = tensors.get("blocks.0.attn.q.bias")
    return bias.shape[0] if bias is not None and bias.ndim == 2 else None


def _beit_heads(tensors: Any) -> int | None:
    tables = [value for name, value in tensors.items() if name.endswith("relative_position_bias_table")]
    return tables[0].shape[1] if tables and tables[0].ndim == 2 else None


def _mae(addresses: set[str]) -> str:
    return "" if any(address.endswith((":fc.weight", ":fc_norm.weight")) for address in addresses) else "mae"


def _dino(addresses: set[str]) -> str:
    return "ibot" if any("masked_embed" in address for address in addresses) else "dino"


BEIT = (_anywhere("blocks.0.attn.q_bias"),)
MARKS = (
    *BEIT,
    _anywhere("decoder_embed.", "storage_tokens", "rope_embed."),
    _anywhere("blocks.0.ls1.", "blocks.0.0.", "blocks.0.gamma_1", "reg_token", "register_tokens", "mask_token"),
    _anywhere("head.", "fc_norm.", "head_dist.", "attn_pool."),
)
"""By what a file says of its authors; the formats of bare ViTs have none of it."""

VITS = [
    Format(
        name="this suite's backbone (ViT)",
        family=VIT,
        written_as="ssl-transfer-bench/backbone/",
        trunks={"online": "state_dict:"},
        origin=of_suite,
        source=SUITE,
    ),
    Format(
        name="this suite's training checkpoint (ViT)",
        family=VIT,
        written_as="ssl-transfer-bench/checkpoint/",
        trunks={"online": "model:backbone.", "teacher": "model:teacher.backbone."},
        origin=of_suite,
        source=SUITE,
    ),
    Format(
        name="MoCo v3 (ViT)",
        family=VIT,
        trunks={"online": "state_dict:base_encoder.", "momentum": "state_dict:momentum_encoder."},
        requires=("state_dict:predictor.",),
        dropped=(HEAD,),
        heads=USUAL | {384: 12},
        method="moco_v3",
        source="facebookresearch/moco-v3, moco/builder.py and vits.py",
    ),
    Format(
        name="DINO or iBOT (ViT, full checkpoint)",
        family=VIT,
        trunks={"teacher": "teacher:backbone.", "student": "student:backbone."},
        forbids=("teacher:dino_head.",),
        dropped=(HEAD, MASK),
        heads=USUAL | {192: 3, 384: 6},
        method=_dino,
        source="facebookresearch/dino, main_dino.py and vision_transformer.py; bytedance/ibot, main_ibot.py",
    ),
    Format(
        name="DINOv2 (training checkpoint)",
        family=VIT,
        trunks={"teacher": "teacher:backbone.", "student": "student:backbone."},
        requires=("teacher:dino_head.",),
        dropped=(HEAD, MASK),
        rename=dinov2,
        heads=USUAL | {384: 6, 1536: 24},
        method="dinov2",
        source="facebookresearch/dinov2, dinov2/train/ssl_meta_arch.py and models/vision_transformer.py",
    ),
    Format(
        name="DINOv2 backbone",
        family=VIT,
        trunks={"trunk": ANY},
        requires=(_anywhere("mask_token"), _anywhere("blocks.0.ls1.", "blocks.0.0.ls1.")),
        forbids=(*BEIT, _anywhere("storage_tokens", "decoder_embed.")),
        dropped=(HEAD, MASK),
        rename=dinov2,
        heads=USUAL | {384: 6, 1536: 24},
        method="dinov2",
        source="facebookresearch/dinov2, dinov2/models/vision_transformer.py and hub/backbones.py",
    ),
    Format(
        name="DINOv3 ViT",
        family=VIT,
        trunks={"trunk": ANY},
        requires=(_anywhere("storage_tokens", "rope_embed."),),
        dropped=(HEAD, MASK),
        rename=dinov2,
        heads=USUAL | {384: 6, 1280: 20, 4096: 32},
        method="dinov3",
        source="facebookresearch/dinov3, dinov3/models/vision_transformer.py and hub/backbones.py",
    ),
    Format(
        name="MAE, U-MAE or M-MAE (training file)",
        family=VIT,
        trunks={"encoder": ANY},
        requires=(_anywhere("decoder_embed."), _anywhere("decoder_blocks.")),
        dropped=(DECODER, RANK),
        heads=AND_HUGE,
        method=_mae,
        epochs=("epoch", 1),
        source="facebookresearch/mae, models_mae.py; PKU-ML/U-MAE and yifanzhang-pro/M-MAE, models_mae.py",
    ),
    Format(
        name="MAE encoder, or another ViT alone under `model`",
        family=VIT,
        trunks={"encoder": "model:"},
        forbids=MARKS,
        heads=AND_HUGE,
        source="facebookresearch/mae, FINETUNE.md; facebookresearch/moco-v3, convert_to_deit.py (ViT-S: --heads 12)",
    ),
    Format(
        name="ViT alone under `state_dict` (iBOT's extracted backbones, Lightning)",
        family=VIT,
        trunks={"trunk": "state_dict:"},
        requires=("state_dict:blocks.",),
        forbids=tuple(mark.replace("state_dict:mask_token", "state_dict:(none)") for mark in MARKS[:2])
        + ("state_dict_ema:", "state_dict:head_dist."),
        dropped=(HEAD, MASK),
        heads=AND_HUGE,
        origin=origin_of_openmmlab,
        source="bytedance/ibot, extract_backbone_weights.py (ViT-S: --heads 6)",
    ),
    Format(
        name="DINO backbone (ViT, bare names)",
        family=VIT,
        trunks={"trunk": ":"},
        forbids=MARKS,
        heads=USUAL | {192: 3, 384: 6},
        method="dino",
        source="facebookresearch/dino, README and vision_transformer.py (deit_small is of 6 heads)",
    ),
    Format(
        name="DeiT, or MAE fine-tuned",
        family=VIT,
        trunks={"online": "model:", "ema": "model_ema:"},
        requires=("model:head.",),
        forbids=(*BEIT, "model:decoder_embed.", "model:mask_token", "model:storage_tokens"),
        dropped=(HEAD,),
        heads=AND_SMALL,
        source="facebookresearch/deit, models.py and models_v2.py; facebookresearch/mae, models_vit.py",
    ),
    Format(
        name="timm ViT",
        family=VIT,
        trunks={"trunk": ":"},
        requires=(":head.|:fc_norm.|:reg_token|:blocks.0.ls1.|:blocks.0.gamma_1|:attn_pool.",),
        forbids=(":blocks.0.attn.q_bias", ":decoder_embed.", ":mask_token", ":storage_tokens", ":register_tokens"),
        dropped=(HEAD,),
        heads=AND_SMALL,
        input=None,
        source="huggingface/pytorch-image-models, timm/models/vision_transformer.py",
    ),
    Format(
        name="timm training checkpoint (ViT)",
        family=VIT,
        trunks={"ema": "state_dict_ema:", "online": "state_dict:"},
        requires=("state_dict_ema:",),
        keys=("arch", "version"),
        dropped=(HEAD,),
        heads=AND_SMALL,
        input=None,
        epochs=("epoch", 1),
        source="huggingface/pytorch-image-models, timm/utils/checkpoint_saver.py; timm loads the average by default",
    ),
    Format(
        name="BEiT",
        family=VIT,
        trunks={"trunk": ANY},
        requires=BEIT,
        dropped=(HEAD, MASK),
        heads_of=_beit_heads,
        heads=USUAL,
        input=HALF,
        method="beit",
        source="microsoft/unilm, beit/modeling_pretrain.py and modeling_finetune.py; timm/models/beit.py",
    ),
    Format(
        name="torchvision ViT",
        family=VIT,
        trunks={"trunk": ANY, "ema": "model_ema:"},
        requires=(_anywhere("class_token"), _anywhere("encoder.layers.")),
        dropped=(("classifier", r"^heads\."),),
        rename=torchvision,
        heads=AND_HUGE,
        source="pytorch/vision, torchvision/models/vision_transformer.py",
    ),
    Format(
        name="Hugging Face ViT, DeiT, ViTMAE, DINOv2",
        family=VIT,
        trunks={
            "encoder": "|".join(
                f"{place}{prefix}"
                for place in (":", "state_dict:")
                for prefix in ("", "vit.", "deit.", "dinov2.", "dinov2_with_registers.", "backbone.")
            )
        },
        requires=(
            "|".join(
                f"{place}{prefix}embeddings.patch_embeddings."
                for place in (":", "state_dict:")
                for prefix in ("", "vit.", "deit.", "dinov2.", "dinov2_with_registers.", "backbone.")
            ),
        ),
        dropped=(
            (
                "classifier, pooler or decoder",
                r"^(vit\.|deit\.)?(classifier|cls_classifier|distillation_classifier|pooler|decoder)\.",
            ),
            MASK,
            ("the mask token, used only in pretraining", r"embeddings\.mask_token$"),
        ),
        rename=hugging_face,
        heads=USUAL,
        input=None,
        source="huggingface/transformers 5.24, models written by save_pretrained (old names) and in memory (new names)",
    ),
    Format(
        name="Google ViT (.npz)",
        family=VIT,
        trunks={"trunk": ":|:params/"},
        requires=(":Transformer/|:params/Transformer/",),
        dropped=(("classifier", r"^(params/)?(head|pre_logits)/"),),
        rename=google,
        reshape=_google_shape,
        heads_of=_google_heads,
        input=HALF,
        source="google-research/vision_transformer, as timm/models/vision_transformer.py reads it (_load_weights)",
    ),
    Format(
        name="Detectron2 ViT",
        family=VIT,
        trunks={"trunk": "model:backbone.net."},
        requires=("model:backbone.net.",),
        dropped=(("the relative positions of a detector", r"\.attn\.rel_pos_[hw]$"),),
        source="facebookresearch/detectron2, detectron2/modeling/backbone/vit.py; the other way of this converter",
    ),
]

convnext = _renamer(
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv([12])\.", r".mlp.fc\1."),
    (r"\.grn\.gamma$", ".mlp.grn.weight"),
    (r"\.grn\.beta$", ".mlp.grn.bias"),
    (r"^norm\.", "head.norm."),
)


def _convnext_shape(name: str, tensor: Any) -> Any:
    return tensor.flatten() if ".grn." in name else tensor


def _swin(name: str) -> str:
    """The authors' file shrinks the maps after a stage, timm before the next."""
    return re.sub(r"^layers\.(\d)\.downsample\.", lambda m: f"layers.{int(m[1]) + 1}.downsample.", name)


TIMM_PLACES = {"trunk": ANY, "ema": "state_dict_ema:|model_ema:"}
CLASSIFIER = ("classifier", r"^head\.(?!norm\.)")
BESIDE_CONVNEXT = ("norms and projectors of another method's loss", r"^(norms|projectors)\.")
WINDOW_TABLE = ("a table made from the window's size", r"(relative_position_index|relative_coords_table|attn_mask)$")

TIMMS = [
    Format(
        name="this suite's backbone (timm)",
        family=TIMM,
        written_as="ssl-transfer-bench/backbone/",
        trunks={"online": "state_dict:"},
        origin=of_suite,
        source=SUITE,
    ),
    Format(
        name="this suite's training checkpoint (timm)",
        family=TIMM,
        written_as="ssl-transfer-bench/checkpoint/",
        trunks={"online": "model:backbone.", "teacher": "model:teacher.backbone."},
        origin=of_suite,
        source=SUITE,
    ),
    Format(
        name="timm ConvNeXt",
        family=TIMM,
        trunks=TIMM_PLACES,
        requires=(_anywhere("stages.0.blocks.0.conv_dw."), _anywhere("stem.0.")),
        dropped=(CLASSIFIER,),
        source="huggingface/pytorch-image-models, timm/models/convnext.py",
    ),
    Format(
        name="ConvNeXt (authors' code, DINOv3)",
        family=TIMM,
        trunks=TIMM_PLACES,
        requires=(_anywhere("stages.0.0.dwconv."), _anywhere("downsample_layers.")),
        dropped=(CLASSIFIER, BESIDE_CONVNEXT),
        rename=convnext,
        reshape=_convnext_shape,
        source="facebookresearch/ConvNeXt and dinov3, models/convnext.py, as timm/models/convnext.py reads them",
    ),
    Format(
        name="timm Swin",
        family=TIMM,
        trunks=TIMM_PLACES,
        requires=(_anywhere("layers.0.blocks.0.attn.relative_position_bias_table"),),
        forbids=(_anywhere("layers.0.downsample."),),
        dropped=(CLASSIFIER, WINDOW_TABLE),
        source="huggingface/pytorch-image-models, timm/models/swin_transformer.py",
    ),
    Format(
        name="Swin (authors' code)",
        family=TIMM,
        trunks=TIMM_PLACES,
        requires=(
            _anywhere("layers.0.blocks.0.attn.relative_position_bias_table"),
            _anywhere("layers.0.downsample."),
        ),
        dropped=(CLASSIFIER, WINDOW_TABLE),
        rename=_swin,
        source="microsoft/Swin-Transformer, models/swin_transformer.py, as timm/models/swin_transformer.py reads it",
    ),
]

ANY_OF_TIMM = Format(
    name="any network of timm",
    family=TIMM,
    written_as="(none: `--backbone timm:NAME`, or the file's `arch`)",
    trunks=TIMM_PLACES,
    dropped=(WINDOW_TABLE,),
    source="huggingface/pytorch-image-models, timm.list_models()",
)
"""For a file of which the user, or its own ``arch``, says that it is of a network of timm."""

TIMMS += [
    ANY_OF_TIMM,
    Format(
        name="Detectron2 backbone (timm)",
        family=TIMM,
        trunks={"trunk": "model:backbone.bottom_up.network."},
        requires=("model:backbone.bottom_up.network.",),
        rename=_renamer((r"^(stem|stages|layers|blocks|features)_(\d+)\.", r"\1.\2.")),
        source="this repository: transfer/detection/timm_fpn.py; the other way of this converter",
    ),
]
