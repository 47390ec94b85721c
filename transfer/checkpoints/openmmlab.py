"""What a checkpoint of OpenMMLab's programs says of itself: they store the configuration of the run as text.

``meta.cfg`` (mmengine) or ``meta.config`` (mmcv) is a Python file of assignments. It is parsed, never run: calls of
``dict`` and literals become values, everything else is passed over.
Source: open-mmlab/mmengine, mmengine/runner/runner.py (save_checkpoint); mmpretrain, mmpretrain/models/utils
(ClsDataPreprocessor, SelfSupDataPreprocessor); mmcv, mmcv/image/photometric.py (imnormalize).
"""

import ast
from collections.abc import Mapping
from typing import Any

from transfer.checkpoints.format_spec import IMAGENET
from transfer.checkpoints.origin import are_channels

MOST_TEXT = 1_000_000
"""Characters of a configuration that are looked at; a long one has some 50,000."""

METHODS = {
    "BYOL": "byol",
    "BarlowTwins": "barlow_twins",
    "DeepCluster": "deepcluster",
    "DenseCL": "densecl",
    "InterCLRMoCo": "interclr",
    "MoCo": "moco_v2",
    "NPID": "npid",
    "ODC": "odc",
    "SimCLR": "simclr",
    "SimSiam": "simsiam",
    "SwAV": "swav",
    "ImageClassifier": "supervised",
}
"""``model.type`` -> the suite's name; OpenMMLab's MoCo is version 2, by its MLP neck and its augmentation."""


def origin(content: Mapping) -> dict:
    """``method`` and ``input`` as far as the stored configuration tells them; empty where there is none."""
    meta = _mapping(content.get("meta"))
    stored = meta.get("cfg") or meta.get("config")
    config = parse(stored) if isinstance(stored, str) else stored
    if not isinstance(config, Mapping):
        return {}
    model = _mapping(config.get("model"))
    found: dict = {}
    if (method := METHODS.get(str(model.get("type", "")).rpartition(".")[2])) is not None:
        found["method"] = method
    seen = _input(config, model)
    return found | ({"input": seen} if seen else {})


def parse(text: str) -> dict:
    """The assignments of a configuration file, ``{"model": {"type": "MoCo", ...}}``; what is no value is left out."""
    try:
        statements = ast.parse(text[:MOST_TEXT]).body
        return {
            target.id: _value(statement.value)
            for statement in statements
            if isinstance(statement, ast.Assign)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}


def _value(node: ast.expr):
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {word.arg: _value(word.value) for word in node.keywords if word.arg}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: _value(value) for key, value in pairs if isinstance(key, ast.Constant)}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(element) for element in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def _input(config: Mapping, model: Mapping) -> dict | None:
    """What the network was fed, in Detectron2's terms; None where the configuration does not say."""
    caffe = _mapping(model.get("backbone")).get("style") == "caffe"  # the stride of a stage in its 1x1 convolution
    candidates = (model.get("data_preprocessor"), config.get("data_preprocessor"), config.get("img_norm_cfg"))
    for scale in map(_mapping, candidates):
        mean: Any = scale.get("mean")
        std: Any = scale.get("std")
        if are_channels(mean) and are_channels(std, above=0):
            in_bytes = max(mean) > 1  # version 0 scaled what PIL read, RGB in 0..1; mmcv's reader gives BGR in 0..255
            turned = any(scale.get(key) is True for key in ("to_rgb", "bgr_to_rgb"))
            return {
                "order": "RGB" if turned or not in_bytes else "BGR",
                "pixel_mean": [round(value * (1 if in_bytes else 255), 4) for value in map(float, mean)],
                "pixel_std": [round(value * (1 if in_bytes else 255), 4) for value in map(float, std)],
                "stride_in_1x1": caffe,
            }
    return {**IMAGENET, "stride_in_1x1": True} if caffe else None


def _mapping(value) -> Mapping:
    return value if isinstance(value, Mapping) else {}
