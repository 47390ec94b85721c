"""The checkpoint formats the converter knows, one entry each.

To add a format, add a ``Format``; ``format_spec.py`` says what its fields mean. A file must fit exactly
one entry.
"""

import re
from typing import Any

from transfer.checkpoints.format_spec import IMAGENET, Format
from transfer.checkpoints.openmmlab import origin as origin_of_openmmlab
from transfer.checkpoints.origin import SUITE, is_count, of_suite
from transfer.checkpoints.renaming.resnet import from_sequential, to_torchvision
from transfer.checkpoints.vit_formats import TIMMS, VITS

AUTO = "auto"
"""Not a format: the one that the file fits."""

CLASSIFIER = (("classifier", r"^fc\."),)
PROJECTOR_AS_FC = (("projector, which the authors keep where the classifier was", r"fc\."),)
SEVERAL_PROTOTYPES = (":prototypes.prototypes0.|state_dict:prototypes.prototypes0.",)
SWAV_HEADS = (("projector or prototypes", r"^(projection_head|prototypes)\."),)
SWAV_INPUT = IMAGENET | {"pixel_std": [58.14, 57.12, 57.375]}
"""Its standard deviation of red is .228, where everybody else has .229."""


def _moco(addresses: set[str]) -> str:
    return "moco_v2" if any(".fc.2." in address for address in addresses) else "moco_v1"


def _solo_learn(content: dict) -> dict:
    settings = content.get("hyper_parameters", {})
    method = getattr(settings, "_content", settings).get("method", "")  # omegaconf, of which only the fields are read
    method = getattr(method, "_val", method)
    return {"method": method} if isinstance(method, str) else {}


def _torchvision(content: dict) -> dict:
    """torchvision's reference script counts epochs from 0 (under ``model``), PyTorch's examples from 1."""
    epoch: Any = content.get("epoch")
    return {"epochs": epoch + ("model" in content)} if is_count(epoch) else {}


def _hugging_face(name: str) -> str:
    for pattern, replacement in HUGGING_FACE:
        name = re.sub(pattern, replacement, name)
    return name


HUGGING_FACE = [
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (r"^encoder\.stages\.(\d)\.layers\.(\d+)\.", lambda match: f"layer{int(match[1]) + 1}.{match[2]}."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"\.layer\.(\d)\.convolution\.", lambda match: f".conv{int(match[1]) + 1}."),
    (r"\.layer\.(\d)\.normalization\.", lambda match: f".bn{int(match[1]) + 1}."),
]

FORMATS = [
    Format(
        name="this suite's backbone",
        written_as="ssl-transfer-bench/backbone/",
        trunks={"online": "state_dict:"},
        origin=of_suite,
        source=SUITE,
    ),
    Format(
        name="this suite's training checkpoint",
        written_as="ssl-transfer-bench/checkpoint/",
        trunks={"online": "model:backbone.", "teacher": "model:teacher.backbone."},
        origin=of_suite,
        source=SUITE,
    ),
    Format(
        name="MoCo v1/v2",
        trunks={"query": "state_dict:encoder_q.", "key": "state_dict:encoder_k."},
        forbids=("state_dict:backbone.",),
        dropped=PROJECTOR_AS_FC,
        method=_moco,
        source="facebookresearch/moco, main_moco.py",
    ),
    Format(
        name="SimSiam",
        trunks={"online": "state_dict:encoder."},
        requires=("state_dict:predictor.",),
        forbids=("state_dict:teacher.", "state_dict:classifier.", "state_dict:backbone."),
        dropped=PROJECTOR_AS_FC,
        method="simsiam",
        source="facebookresearch/simsiam, simsiam/builder.py",
    ),
    Format(
        name="MEC or Matrix-SSL (authors' code)",
        trunks={"online": "state_dict:encoder.", "teacher": "state_dict:teacher."},
        requires=("state_dict:predictor.", "state_dict:teacher."),
        dropped=PROJECTOR_AS_FC,
        source="xinliu20/MEC and yifanzhang-pro/Matrix-SSL, mec/builder.py",
    ),
    Format(
        name="SwAV",
        trunks={"trunk": ":|state_dict:"},
        requires=(":projection_head.|state_dict:projection_head.", ":prototypes.|state_dict:prototypes."),
        forbids=SEVERAL_PROTOTYPES,
        dropped=SWAV_HEADS,
        input=SWAV_INPUT,
        method="swav",
        source="facebookresearch/swav, main_swav.py and src/multicropdataset.py",
    ),
    Format(
        name="DeepCluster-v2 (SwAV's repository)",
        trunks={"trunk": ":|state_dict:"},
        requires=(":projection_head.|state_dict:projection_head.", *SEVERAL_PROTOTYPES),
        dropped=SWAV_HEADS,
        input=SWAV_INPUT,
        method="deepcluster_v2",  # SeLa-v2's files look the same; --method sela_v2 says so
        source="facebookresearch/swav, main_deepclusterv2.py: prototypes of several clusterings, one head each",
    ),
    Format(
        name="Barlow Twins (full checkpoint)",
        trunks={"online": "model:backbone."},
        requires=("model:projector.", "model:bn."),
        method="barlow_twins",
        source="facebookresearch/barlowtwins, main.py",
    ),
    Format(
        name="VICReg (full checkpoint)",
        trunks={"online": "model:backbone."},
        requires=("model:projector.",),
        forbids=("model:bn.",),
        method="vicreg",
        source="facebookresearch/vicreg, main_vicreg.py",
    ),
    Format(
        name="bare backbone (Barlow Twins, VICReg and DINO resnet50.pth)",
        trunks={"trunk": ":"},
        forbids=(":fc.", ":projection_head."),
        source="facebookresearch/barlowtwins, vicreg and dino, README",
    ),
    Format(
        name="MoCo v3 (ResNet)",
        trunks={"online": "state_dict:base_encoder.", "momentum": "state_dict:momentum_encoder."},
        requires=("state_dict:predictor.",),
        dropped=PROJECTOR_AS_FC,
        method="moco_v3",
        source="facebookresearch/moco-v3, moco/builder.py and main_moco.py",
    ),
    Format(
        name="DINO (full checkpoint)",
        trunks={"teacher": "teacher:backbone.", "student": "student:backbone."},
        dropped=(("DINO's head", r"^head\."),),
        method="dino",
        source="facebookresearch/dino, main_dino.py; eval_linear.py takes the teacher",
    ),
    Format(
        name="solo-learn",
        trunks={
            "online": "state_dict:backbone.|state_dict:encoder.",
            "momentum": "state_dict:momentum_backbone.|state_dict:momentum_encoder.",
        },
        requires=("state_dict:classifier.",),
        forbids=("state_dict:projection_head.", "state_dict:neck."),
        origin=_solo_learn,
        epochs=("epoch", 1),
        source="vturrisi/solo-learn, solo/methods/base.py",
    ),
    Format(
        name="lightly",
        trunks={
            "backbone": "state_dict:backbone.",
            "query": "state_dict:query_backbone.",
            "key": "state_dict:key_backbone.",
            "teacher": "state_dict:teacher_backbone.",
            "student": "state_dict:student_backbone.",
            "momentum": "state_dict:backbone_momentum.",
        },
        requires=("state_dict:projection_head.|state_dict:online_classifier.",),
        forbids=("state_dict:classifier.", "state_dict:neck."),
        epochs=("epoch", 1),
        source="lightly-ai/lightly, benchmarks/imagenet/resnet50",
    ),
    Format(
        name="lightly (numbered layers)",
        trunks={"backbone": "state_dict:backbone.|state_dict:|:", "momentum": "state_dict:backbone_momentum."},
        requires=("state_dict:backbone.0.|state_dict:0.|:0.",),
        dropped=(("heads of the method", r"^[a-z_]*(head|classifier)[a-z_]*\."),),
        rename=from_sequential,
        epochs=("epoch", 1),
        source="lightly-ai/lightly, docs/source/tutorials_source/package/tutorial_moco_memory_bank.py",
    ),
    Format(
        name="VISSL (classy_state_dict)",
        trunks={"trunk": "classy_state_dict/base_model/model/trunk:_feature_blocks."},
        epochs=("classy_state_dict/train_phase_idx", 1),
        source="facebookresearch/vissl, vissl/models/base_ssl_model.py and trunks/resnext.py",
    ),
    Format(
        name="VISSL (model_state_dict, or the trunk alone)",
        trunks={"trunk": "model_state_dict:_feature_blocks.|model_state_dict:trunk._feature_blocks.|:_feature_blocks."},
        source="facebookresearch/vissl, extra_scripts/convert_vissl_to_detectron2.py",
    ),
    Format(
        name="mmselfsup, mmpretrain, OpenSelfSup",
        trunks={
            "backbone": "state_dict:backbone.",
            "momentum": "state_dict:encoder_k.0.|state_dict:encoder_k.module.0.|"
            "state_dict:target_net.0.|state_dict:target_net.module.0.",
        },
        requires=("state_dict:neck.|state_dict:head.",),
        forbids=("state_dict:classifier.", "state_dict:projection_head."),
        epochs=("meta/epoch", 0),
        origin=origin_of_openmmlab,
        source="open-mmlab/mmselfsup, mmselfsup/models/algorithms",
    ),
    Format(
        name="extracted backbone (mmselfsup, DenseCL)",
        trunks={"trunk": "state_dict:"},
        forbids=("state_dict:fc.", "state_dict:projection_head."),
        origin=origin_of_openmmlab,
        source="open-mmlab/mmselfsup, tools/model_converters; WXinlong/DenseCL, tools/extract_backbone_weights.py",
    ),
    Format(
        name="torchvision or timm state dict",
        trunks={"trunk": ":|model:|state_dict:"},
        requires=(":fc.|model:fc.|state_dict:fc.",),
        forbids=("state_dict_ema:",),
        dropped=CLASSIFIER,
        origin=_torchvision,
        source="pytorch/vision, torchvision/models/resnet.py; timm's resnet50 has the same names",
    ),
    Format(
        name="timm training checkpoint",
        trunks={"ema": "state_dict_ema:", "online": "state_dict:"},
        requires=("state_dict_ema:fc.",),
        keys=("arch", "version"),
        dropped=CLASSIFIER,
        epochs=("epoch", 1),
        source="huggingface/pytorch-image-models, timm/utils/checkpoint_saver.py; timm loads the average by default",
    ),
    Format(
        name="Hugging Face ResNet",
        trunks={"trunk": ":|:resnet."},
        requires=(":embedder.|:resnet.embedder.",),
        dropped=(("classifier", r"^classifier\."),),
        rename=_hugging_face,
        source="huggingface/transformers 5.24, models/resnet/modeling_resnet.py, as save_pretrained writes it",
    ),
    Format(
        name="Detectron2 backbone",
        trunks={"trunk": "model:"},
        requires=("model:stem.",),
        dropped=(("classifier", r"^stem\.fc\."),),
        rename=to_torchvision,
        source="facebookresearch/detectron2, detectron2/checkpoint; the other way of this converter",
    ),
]

FORMATS += [*VITS, *TIMMS]
