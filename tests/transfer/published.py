"""Files as the programs that publish backbones write them, around two trunks ``a`` and ``b``.

The trunks are torchvision's (or timm's) own modules around one set of weights; heads have the authors' names and
little width. ``a`` is what the layout is published for; where a second trunk is in the file it is ``b``.
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from transfer.checkpoints.resnet import expected_shapes


def gives(found, wanted: dict[str, torch.Tensor]) -> bool:
    """Whether the trunk that was found is ``wanted``, name by name and bit by bit."""
    kept = {new: found.tensors[name] for name, new in found.names.items()}
    return set(kept) == set(expected_shapes()) and all(torch.equal(kept[name], wanted[name]) for name in kept)


def resnet(tensors: dict[str, torch.Tensor], fc: nn.Module | None = None) -> nn.Module:
    """torchvision's ResNet-50 around ``tensors``, without a copy of them."""
    from torchvision.models import resnet50

    with torch.device("meta"):
        network = resnet50()
    network.fc = nn.Identity()
    network.load_state_dict(tensors, assign=True)
    network.fc = fc or nn.Identity()
    return network


def mlp(*widths: int) -> nn.Sequential:
    layers = [[nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()] for a, b in zip(widths, widths[1:], strict=False)]
    return nn.Sequential(*[layer for group in layers for layer in group][:-2])


def distributed(module: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict under DistributedDataParallel, which keeps its network as ``module``."""
    return OrderedDict((f"module.{name}", value) for name, value in module.state_dict().items())


def moco_v1(a, b):
    return moco_v2(a, b, fc=lambda: nn.Linear(2048, 8))


def moco_v2(a, b, fc=lambda: nn.Sequential(nn.Linear(2048, 8), nn.ReLU(), nn.Linear(8, 8))):
    network = nn.ModuleDict({"encoder_q": resnet(a, fc()), "encoder_k": resnet(b, fc())})
    network.register_buffer("queue", torch.zeros(8, 16))
    network.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))
    return {"epoch": 200, "arch": "resnet50", "state_dict": distributed(network), "optimizer": {"state": {}}}


def simsiam(a, b):
    network = nn.ModuleDict({"encoder": resnet(a, mlp(2048, 8, 8, 8)), "predictor": mlp(8, 4, 8)})
    return {"epoch": 100, "arch": "resnet50", "state_dict": distributed(network), "optimizer": {}}


def matrix_ssl(a, b):
    parts = {"encoder": resnet(a, mlp(2048, 8, 8, 8)), "teacher": resnet(b, mlp(2048, 8, 8, 8))}
    network = nn.ModuleDict({**parts, "predictor": mlp(8, 4, 8)})
    return {"epoch": 100, "arch": "resnet50", "state_dict": distributed(network), "optimizer": {}}


def swav(a, b):
    network = resnet(a)
    network.padding = nn.ConstantPad2d(1, 0.0)
    network.projection_head = mlp(2048, 8, 4)
    network.prototypes = nn.Linear(4, 6, bias=False)
    return distributed(network)


def swav_training(a, b):
    return {"epoch": 400, "state_dict": swav(a, b), "optimizer": {}, "amp": {}}


def deepcluster_v2(a, b):
    network = resnet(a)
    network.projection_head = mlp(2048, 8, 4)
    network.prototypes = nn.ModuleDict({f"prototypes{i}": nn.Linear(4, 6, bias=False) for i in range(3)})
    return distributed(network)


def barlow_twins(a, b):
    network = nn.ModuleDict(
        {"backbone": resnet(a), "projector": mlp(2048, 8, 8), "bn": nn.BatchNorm1d(8, affine=False)}
    )
    return {"epoch": 300, "model": distributed(network), "optimizer": {}}


def vicreg(a, b):
    network = nn.ModuleDict({"backbone": resnet(a), "projector": mlp(2048, 8, 8, 8)})
    return {"epoch": 1000, "model": distributed(network), "optimizer": {}}


def bare(a, b):
    return resnet(a).state_dict()


def moco_v3(a, b):
    encoders = {"base_encoder": resnet(a, mlp(2048, 8, 8)), "momentum_encoder": resnet(b, mlp(2048, 8, 8))}
    network = nn.ModuleDict({**encoders, "predictor": mlp(8, 8, 8)})
    return {"epoch": 300, "arch": "resnet50", "state_dict": distributed(network), "optimizer": {}, "scaler": {}}


def hugging_face(a, b):
    """transformers' own ResNet-50, filled in the order in which both have their layers."""
    from transformers import ResNetConfig, ResNetForImageClassification

    with torch.device("meta"):
        network = ResNetForImageClassification(ResNetConfig())
    names = [name for name in network.state_dict() if not name.startswith("classifier")]
    ours = [name for name in a if "downsample" not in name]
    theirs = [name for name in names if "shortcut" not in name]
    both = dict(zip(theirs, ours, strict=True))
    both |= dict(zip((n for n in names if "shortcut" in n), (n for n in a if "downsample" in n), strict=True))
    return {new: a[old] for new, old in both.items()} | {"classifier.1.weight": torch.zeros(2, 2048)}


def dino(a, b):
    def wrapper(tensors):
        head = nn.ModuleDict({"mlp": mlp(2048, 8, 8), "last_layer": nn.utils.weight_norm(nn.Linear(8, 16, bias=False))})
        return distributed(nn.ModuleDict({"backbone": resnet(tensors), "head": head}))

    options = argparse.Namespace(arch="resnet50", lr=0.03, data_path=Path("/imagenet"))
    loss = {"center": torch.zeros(1, 16)}
    return {
        "student": wrapper(b),
        "teacher": wrapper(a),
        "optimizer": {},
        "epoch": 800,
        "args": options,
        "dino_loss": loss,
    }


def lightning(network: nn.Module, **more) -> dict:
    state = {"epoch": 99, "global_step": 5, "pytorch-lightning_version": "2.1.2", "state_dict": network.state_dict()}
    return {**state, "optimizer_states": [], "lr_schedulers": [], **more}


def solo_learn(a, b):
    from omegaconf import OmegaConf

    parts = {
        "backbone": resnet(a),
        "classifier": nn.Linear(2048, 10),
        "projector": mlp(2048, 8, 8),
        "predictor": mlp(8, 8),
    }
    momentum = {"momentum_backbone": resnet(b), "momentum_projector": mlp(2048, 8, 8)}
    return lightning(
        nn.ModuleDict(parts | momentum), hyper_parameters=OmegaConf.create({"method": "byol", "max_epochs": 100})
    )


def solo_learn_dino(a, b):
    """Its DINO has no projector: the head is called as a classifier's elsewhere."""
    head = {name: nn.ModuleDict({"mlp": mlp(2048, 8, 8)}) for name in ("head", "momentum_head")}
    parts = {"backbone": resnet(a), "classifier": nn.Linear(2048, 10), "momentum_backbone": resnet(b)}
    return lightning(nn.ModuleDict(parts | head), hyper_parameters={"method": "dino"})


def solo_learn_older(a, b):
    parts = {
        "encoder": resnet(a),
        "classifier": nn.Linear(2048, 10),
        "projector": mlp(2048, 8, 8),
        "predictor": mlp(8, 8),
    }
    return lightning(nn.ModuleDict(parts), hyper_parameters={"method": "simsiam"})


def lightly(a, b):
    parts = {"backbone": resnet(a), "projection_head": nn.ModuleDict({"layers": mlp(2048, 8, 8)})}
    teacher = {"teacher_backbone": resnet(b), "teacher_projection_head": nn.ModuleDict({"layers": mlp(2048, 8, 8)})}
    classifier = nn.ModuleDict({"classification_head": nn.Linear(2048, 10)})
    return lightning(nn.ModuleDict({**parts, **teacher, "online_classifier": classifier}))


def lightly_numbered(a, b):
    def numbered(tensors):
        return nn.Sequential(*list(resnet(tensors).children())[:-1])

    parts = {"backbone": numbered(a), "projection_head": nn.ModuleDict({"layers": mlp(2048, 8, 8)})}
    return lightning(nn.ModuleDict({**parts, "backbone_momentum": numbered(b)}))


def lightly_backbone_numbered(a, b):
    return nn.Sequential(*list(resnet(a).children())[:-1]).state_dict()


def vissl(a, b):
    blocks = resnet(a)
    names = ("conv1", "bn1", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool")
    trunk = nn.ModuleDict({"_feature_blocks": nn.ModuleDict({name: getattr(blocks, name) for name in names})})
    model = {"trunk": trunk.state_dict(), "heads": nn.ModuleList([mlp(2048, 8, 8)]).state_dict()}
    state = {"base_model": {"model": model, "meta": {}}, "train_phase_idx": 199, "optimizer": {}, "loss": {}}
    return {"phase_idx": 199, "iteration": 5, "classy_state_dict": state}


def vissl_model(a, b):
    return {"model_state_dict": vissl(a, b)["classy_state_dict"]["base_model"]["model"]["trunk"]}


def vissl_trunk(a, b):
    return vissl_model(a, b)["model_state_dict"]


def mmselfsup(a, b):
    """Version 1: MoCo keeps its key encoder in a CosineEMA."""
    neck = nn.ModuleDict({"mlp": mlp(2048, 8, 8)})
    momentum = nn.ModuleDict({"module": nn.Sequential(resnet(b), neck)})
    network = nn.ModuleDict({"backbone": resnet(a), "neck": neck, "encoder_k": momentum})
    network.register_buffer("queue", torch.zeros(8, 16))
    return {"meta": {"epoch": 200, "mmselfsup_version": "1.0.0"}, "state_dict": network.state_dict()}


def mmselfsup_older(a, b):
    """Version 0: the query encoder stands in the file under two names."""
    query, key = nn.Sequential(resnet(a), mlp(2048, 8, 8)), nn.Sequential(resnet(b), mlp(2048, 8, 8))
    parts = {"encoder_q": query, "encoder_k": key, "backbone": query[0], "neck": query[1]}
    return {"meta": {"epoch": 200}, "state_dict": nn.ModuleDict(parts).state_dict()}


def mmpretrain(a, b):
    head = nn.ModuleDict({"fc": nn.Linear(2048, 10)})
    return {"meta": {"epoch": 100}, "state_dict": nn.ModuleDict({"backbone": resnet(a), "head": head}).state_dict()}


def extracted(a, b):
    return {"state_dict": resnet(a).state_dict(), "author": "OpenSelfSup"}


def torchvision(a, b):
    return resnet(a, nn.Linear(2048, 1000)).state_dict()


def torchvision_training(a, b):
    return {"model": torchvision(a, b), "optimizer": {}, "epoch": 89, "args": argparse.Namespace(model="resnet50")}


def timm(a, b):
    import timm

    with torch.device("meta"):
        network = timm.create_model("resnet50", pretrained=False)
    head = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    network.load_state_dict({**a, **head}, assign=True)
    return network.state_dict()


def timm_training(a, b):
    options = argparse.Namespace(model="resnet50", lr=0.5)
    states = {"state_dict": timm(b, a), "state_dict_ema": timm(a, b)}
    return {"epoch": 299, "arch": "resnet50", "optimizer": {}, "version": 2, "args": options, **states, "metric": 78.1}


def suite_backbone(a, b):
    about = {"method": "vicreg", "recipe": "demo", "variant": "gamma=0.3", "epochs": 8, "seed": 3, "commit": "0123"}
    seen = {"order": "RGB", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    return {**about, "format": "ssl-transfer-bench/backbone/1", "input": seen, "config": {}, "state_dict": bare(a, b)}


def suite_checkpoint(a, b):
    from pretrain.networks.ema import teacher_of

    parts = {"backbone": resnet(a), "projector": mlp(2048, 8, 8)}
    network = nn.ModuleDict(
        {
            **parts,
            "predictor": mlp(8, 8),
            "teacher": teacher_of(nn.ModuleDict({"backbone": resnet(b), "projector": mlp(2048, 8)})),
        }
    )
    about = {"method": "byol", "recipe": "demo", "epochs": 8, "seed": 3, "commit": "0123"}
    return {**about, "format": "ssl-transfer-bench/checkpoint/1", "model": network.state_dict(), "optimizer": {}}


def detectron2_names(tensors):
    from transfer.checkpoints.renaming.resnet import to_detectron2

    return {to_detectron2(name): tensor for name, tensor in tensors.items() if "tracked" not in name}


def detectron2(a, b):
    head = {"stem.fc.weight": torch.zeros(10, 2048), "stem.fc.bias": torch.zeros(10)}
    return {"model": {**detectron2_names(a), **head}, "__author__": "torchvision", "matching_heuristics": True}
