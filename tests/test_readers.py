"""Every reader of a file from outside: whatever is in it, typed values or short lines, in little time and memory.

The files are whole ones that were changed: values dropped, doubled, nested, exchanged or made of another type, bytes
flipped, cut out, put in (changes.py). `make fuzz` tries thousands where CI tries a few. A content that once broke a
reader stands in BROKEN by name. What a reader makes of values that are of the right types is tested beside it.
"""

import contextlib
import gzip
import io
import json
import os
import pickle
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from analysis.extraction import feature_file, images, training_curves
from analysis.report_page import jobs, pictures
from analysis.results_table import published
from language import config as language_config
from language import evaluation, examples
from pretrain import config
from pretrain.checkpoints import checkpoint
from pretrain.checkpoints.retention import Checkpoints
from pretrain.data import decode, image_index, mapped_arrays, scenes, shards
from runtime import job_graph, job_records, jsonl_log, results, run_guard, typed_json
from runtime.command_line import UserError
from slurm.planning import presets
from slurm.submitting import cluster
from slurm.watching import job_status
from transfer.checkpoints import conversion, declared, find_backbone, read, resnet
from transfer.classification import classifier_protocol
from transfer.datasets import layouts, voc
from transfer.detection import protocol, trainer
from transfer.metrics import ground_truth, predictions


class Reader(NamedTuple):
    """A kind of file."""

    file: str
    """Its name; the suffix says how its content is written."""
    content: Any
    """Plain values of a whole one; bytes where it is no text."""
    read: Callable[[Path], object]


# --- whole files

BOX = {"id": 1, "image_id": 1, "category_id": 3, "bbox": [5, 5, 20, 10], "area": 200.0, "iscrowd": 0}
COCO = {
    "info": {"year": 2024, "metric": "coco"},
    "images": [{"id": 1, "file_name": "1.png", "width": 40, "height": 30}],
    "annotations": [
        {**BOX, "segmentation": [[5, 5, 25, 5, 25, 15, 5, 15]]},
        {**BOX, "id": 2, "iscrowd": 1, "segmentation": {"size": [30, 40], "counts": [200, 100, 900]}},
    ],
    "categories": [{"id": 3, "name": "disk"}],
}
FOUND = [{"image_id": 1, "category_id": 3, "score": 0.5, "bbox": [5, 5, 20, 10], "segmentation": [[5, 5, 9, 5, 9, 9]]}]
LVIS = {
    "images": [{"id": 1, "coco_url": "http://x/train2017/1.jpg", "width": 40, "height": 30}],
    "annotations": [BOX],
    "categories": [{"id": 3, "name": "disk", "frequency": "f"}],
}
RECORD = {"method": "byol", "recipe": "demo", "variant": "", "epochs": 8, "benchmark": "coco_2017", "seed": 0}
RECORD |= {"protocol": "moco-c4-1x", "task": "bbox", "metric": "AP", "value": 40.0, "commit": "abc", "n": 5000}
RECORD |= {"weights_sha256": "0" * 64, "source": "measured"}
RESULT = {"protocol_version": 1, "scale": 1, "changed_from_protocol": {}, "wall_s": 6.5, "records": [RECORD]}
RESULT |= {"settings": {"SOLVER.BASE_LR": 0.02}, "weights": {"input": {"order": "BGR"}}, "device": "cuda"}
PRESET = {"methods": ["random", "simclr"], "recipe": "demo", "protocols": ["demo-fpn"], "benchmarks": ["scenes"]}
PRESET |= {"settings": {"pretrain": {"epochs": 2}, "pretrain@simclr": {"optim.lr": 0.3}}, "seeds": [0, 1]}
PRESET |= {"variants": {"t=1": {"method": "simclr", "settings": {"method.temperature": 1}}}}
PRESET |= {"resources": {"pretrain": {"gpus": 0, "hours": 1}}, "knn": ["scenes"], "linear": ["linear-demo"]}
CLUSTER = {"executor": "slurm", "partition": "gpu", "gpus_per_node": 4, "mem_gb_per_node": 100, "mem": True}
CLUSTER |= {"setup": ["module load x"], "extra": {"mail-type": "END"}, "scratch": "/tmp/$USER", "hours": 2.5}
RECIPE = {"epochs": 8, "batch_size": 32, "optim": {"lr": 0.5}, "views": {"recipe": "symmetric"}, "data": {"root": "/x"}}
PROTOCOL = {"TRANSFER": {"VERSION": 1, "TRIALS": 2}, "SOLVER": {"BASE_LR": 0.02, "STEPS": [1, 2]}, "_BASE_": "_b.yaml"}
PROBE = {"version": 1, "epochs": 10, "milestones": [3, 6], "schedule": "steps", "fractions": {1: {"lr": 0.1}}}
LOG = [{"step": step, "iteration": step, "loss": 1.5, "lr": 0.1} for step in range(1, 4)]
LEDGER = {"output": "w.pkl", "source_sha256": "0" * 64, "method": "byol", "tensors": {"a": {"to": "b"}}}
JOB = {"name": "a-seed0/pretrain", "row": "a-seed0", "stage": "pretrain", "module": "pretrain.train", "argv": ["--x"]}
JOB |= {"folder": "a-seed0/pretrain", "outputs": ["a-seed0/pretrain/backbone.pth"], "needs": [], "seed": 0}
JOB |= {"resources": {"gpus": 1, "cpus": 1, "mem_gb": 1, "hours": 1}, "label": "a"}
DONE = {"argv": ["--x"], "seconds": 2.5, "commit": "abc", "key": "k", "code": "c", "inputs": {"a": "b"}}
STATUS = {"job": "a/pretrain", "row": "a", "stage": "pretrain", "state": "done", "detail": "", "command": "python"}
POINT = {"step": 1, "weights_sha256": "0", "values": {"rank-intra-cov": 3.5}, "warnings": []}
CURVES = {"setting": {"images": 64}, "runs": {"a-seed0": [POINT]}}
RUN = {"method": "simsiam", "recipe": "demo", "settings": {"epochs": 7, "optim": {"lr": 0.1}}, "seed": 0}
SCENES = {"images": 48, "size": 64, "seed": 0, "format": 3}
SOLVED = [{"query": "1 + 1?", "response": "2\n#### 2\nThe answer is: 2"}] * 2
ITEMS = [{"index": 0, "right": True, "expected": "2", "generated": "2"}]
BESIDE = {"hidden_size": 8, "num_attention_heads": 2, "layer_norm_eps": 1e-6, "architecture": "vit_tiny"}
BESIDE |= {"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}
HEAD = "method,variant,epochs,benchmark,protocol,task,metric,value,std,n,source,caveat,backbone"
NUMBERS = [
    HEAD.split(","),
    ["byol", "", "100", "imagenet", "linear-moco", "classification", "top1", "66.5", "0.1", "3", "A", "", ""],
    ["simclr", "", "100", "imagenet", "linear-moco", "classification", "top1", "66.5", "", "", "A", "b, c"],
]
LABELS = [["1.png", "cat"], ["2.png", "dog"]]
XML = (
    b"<annotation><size><width>40</width><height>30</height></size><object><name>cat</name><difficult>0</difficult>"
    b"<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
)
STATE = {"state_dict": {"module.conv1.weight": torch.arange(6.0), "module.fc.bias": torch.ones(2)}, "epoch": 3}
CHECKPOINT = {"format": checkpoint.CHECKPOINT, "method": "byol", "recipe": "demo", "config": {"epochs": 8}, "step": 3}
CHECKPOINT |= {"model": {"backbone.conv1.weight": torch.ones(2)}, "optimizer": {"state": {}, "param_groups": []}}


def torch_file(content: dict, *, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save({**content, "checksum": checkpoint.checksum(content)}, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def npz_file() -> bytes:
    file = io.BytesIO()
    np.savez(file, **{"Transformer/encoderblock_0/LayerNorm_0/scale": np.ones(4), "b": np.arange(3)})
    return file.getvalue()


def index_file(**changes) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / image_index.FILE
        replace(image_index.ImageIndex.of(["cat/1.jpg", "cat/2.jpg", "dog/3.jpg"]), **changes).write(path)
        return path.read_bytes()


def pack_file(**changes) -> bytes:
    index, digest = image_index.ImageIndex.of(["cat/1.jpg", "dog/3.jpg"]), np.zeros(shards.HASH_BYTES, np.uint8)
    ints = {"offset": [512, 1536], "size": [9, 9], "count": [2], "shard_size": [3072]} | changes
    arrays = {name: np.array(values, np.int64) for name, values in ints.items()}
    hashes = {"crc": np.zeros(2, np.uint32), "shard_sha256": digest, "source_sha256": digest}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / image_index.FILE
        mapped_arrays.write(path, index.arrays() | arrays | hashes, index.about())
        return path.read_bytes()


def feature_bytes() -> bytes:
    about = {"format": feature_file.FORMAT, "classes": ["cat", "dog"], "method": "mec"}
    names = torch.tensor(list(b"a\nb\nc"), dtype=torch.uint8)
    tensors = {"features": torch.arange(6.0).reshape(3, 2), "labels": torch.tensor([0, 0, 1]), "names": names}
    return save(tensors, metadata={"about": json.dumps(about)})


def picture(kind: str) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    Image.fromarray(noise).save(file, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP", "TIFF") else {}))
    return file.getvalue()


# --- their readers


def read_truth(path: Path) -> None:
    ground_truth._read.cache_clear()
    ground_truth.read(path).for_engine()


def read_predictions(path: Path) -> None:
    found = predictions.read(path)
    (path.parent / "truth.json").write_text(json.dumps(COCO))
    predictions.check_against(path, found, path.parent / "truth.json")


def read_checkpoint(path: Path) -> None:
    with contextlib.suppress(UserError):
        checkpoint.read(path)
    trunk = find_backbone.find_trunk(read.read(path).content, path)
    with contextlib.suppress(UserError):
        resnet.check(path, {new: trunk.tensors[name] for name, new in trunk.names.items()})


def read_training_checkpoint(path: Path) -> None:
    checkpoint.read(path)
    Checkpoints(path.parent).identity()


def read_protocol(path: Path) -> None:
    (path.parent / "_b.yaml").write_text("SOLVER: {MAX_ITER: 10}\n")
    with mock.patch.object(protocol, "FOLDER", path.parent):
        protocol.read(path.stem)
        protocol.header(path.stem)


def read_probe(path: Path) -> None:
    with mock.patch.object(classifier_protocol, "FOLDER", path.parent):
        classifier_protocol.load(path.stem, [], fraction=1)
        classifier_protocol.version(path.stem)


def read_log(path: Path) -> None:
    jsonl_log._cut_back(path, 2)
    trainer.drop_metrics_from(path, 2)
    job_status.step_of(path)


def read_index(path: Path) -> None:
    for check in (False, True):
        index = image_index.ImageIndex.read(path, check=check)
        names, labels = [index.name(k) for k in range(len(index))], [index.classes[k] for k in index.labels if k >= 0]
        assert len(names) == len(index) >= len(labels)


def read_pack(path: Path) -> None:
    for check in (False, True):
        index, places, _ = shards.read_index(path.parent, check=check)
        assert len(index) == len(places.offset) and places.of_shard(places.shards - 1).shards == 1


def read_answers(path: Path) -> None:
    items = evaluation.begun(path, ["2"], 1)
    evaluation.accuracy([item["right"] for item in items] or [True])


def read_picture(path: Path) -> None:
    """The two decoders see the same picture, and its header says its size."""
    try:
        image = decode.read_image(path)
    finally:
        with contextlib.suppress(decode.UnreadableImage):
            quick = decode.read_pixels(path)
            assert quick.dtype == np.uint8 and quick.ndim == 3 and quick.shape[2] == 3
    header = decode.read_header(path)
    assert image.mode == "RGB" and (header.width, header.height) == image.size
    with contextlib.suppress(UserError):
        pictures.inline(path)
    with contextlib.suppress(decode.UnreadableImage):
        decode.read_numbers(path)


def read_labels(path: Path) -> None:
    images._read_labels(path, ["1.png", "2.png"], path.parent)


def read_run(path: Path) -> None:
    (path.parent / "backbone.pth").touch()
    run_guard.RunGuard(folder=path.parent, outputs=["backbone.pth"], file=path.name).check(RUN)


def read_solved(path: Path) -> None:
    found = examples.read_examples(path)
    examples.references(found, path)
    assert all(isinstance(text, str) and text.encode() is not None for example in found for text in example)


def read_voc(path: Path) -> None:
    folder = path.parent / "VOC2007"
    (folder / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
    (folder / "Annotations").mkdir(exist_ok=True)
    (folder / "ImageSets/Main/train.txt").write_text("1\n")
    (folder / "Annotations/1.xml").write_bytes(path.read_bytes())
    voc.read([folder / "ImageSets/Main/train.txt"])


READERS = {
    "coco": Reader("coco.json", COCO, read_truth),
    "predictions": Reader("found.json.gz", FOUND, read_predictions),
    "lvis": Reader("lvis.json", LVIS, lambda path: layouts.read_lvis([path])),
    "voc": Reader("1.xml", XML, read_voc),
    "result": Reader("result.json", RESULT, results.read_result),
    "preset": Reader("mine.yaml", PRESET, lambda path: presets.experiment(presets.load(str(path)))),
    "cluster": Reader("mine.yaml", CLUSTER, lambda path: cluster.load(str(path))),
    "recipe": Reader("mine.yaml", RECIPE, lambda path: config.resolve("simsiam", str(path), [])),
    "language recipe": Reader(
        "mine.yaml", {"epochs": 1, "optim": {"lr": 1e-5}}, lambda path: language_config.resolve(str(path), [])
    ),
    "protocol": Reader("mine.yaml", PROTOCOL, read_protocol),
    "probe protocol": Reader("linear-mine.yaml", PROBE, read_probe),
    "log": Reader("log.jsonl", LOG, read_log),
    "ledger": Reader("w.ledger.json", LEDGER, lambda path: conversion._read_ledger(path)),
    "job": Reader("done.json", DONE, lambda path: typed_json.read(path, job_records.Done, "delete it")),
    "graph": Reader("jobs/graph.json", [JOB], lambda path: job_graph.load(path.parent.parent)),
    "status": Reader("status.json", [STATUS], lambda path: jobs.with_status([], path)),
    "run": Reader("run.json", RUN, read_run),
    "config": Reader("config.yaml", RUN, read_run),
    "curves": Reader("curves.json", CURVES, training_curves._read),
    "scenes": Reader(
        scenes.MARKER,
        SCENES,
        lambda path: scenes._is_complete(path.parent, scenes.Settings(images=48, size=64, seed=0)),
    ),
    "published": Reader("published.csv", NUMBERS, lambda path: published.load(path, protocols=["linear-moco"])),
    "labels": Reader("labels.csv", LABELS, read_labels),
    "word problems": Reader("a.jsonl", SOLVED, read_solved),
    "word problems in a list": Reader("a.json", SOLVED, read_solved),
    "answers": Reader(".items.jsonl", ITEMS, read_answers),
    "config beside weights": Reader("config.json", BESIDE, lambda path: declared._beside(path.with_name("m.bin"), 8)),
    "zip": Reader("a.pth", torch_file(STATE), read_checkpoint),
    "legacy": Reader("a.pth", torch_file(STATE, zipped=False), read_checkpoint),
    "training checkpoint": Reader("checkpoint.pth", torch_file(CHECKPOINT), read_training_checkpoint),
    "safetensors": Reader("a.safetensors", save(STATE["state_dict"]), read_checkpoint),
    "npz": Reader("a.npz", npz_file(), read_checkpoint),
    "pkl": Reader("a.pkl", pickle.dumps({"model": {"stem.conv1.weight": np.ones(6)}}, protocol=4), read_checkpoint),
    "image index": Reader("i.safetensors", index_file(), read_index),
    "pack": Reader(image_index.FILE, pack_file(), read_pack),
    "features": Reader("f.safetensors", feature_bytes(), feature_file.read),
    **{kind: Reader("a.img", picture(kind), read_picture) for kind in decode.FORMATS},
}


def zip_cut_off() -> bytes:
    """An archive whose one record reaches beyond its end, and holds a pickle without one."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), b"B" + struct.pack("<I", 46 + 16 + 22))  # the rest
        archive.comment = b"N" * 50
    content = bytearray(file.getvalue())
    at = content.index(b"PK\x01\x02") + 20
    content[at : at + 8] = struct.pack("<II", 10**6, 10**6)
    return bytes(content)


HEAD = b",".join(name.encode() for name in NUMBERS[0]) + b"\n"

BROKEN = {
    "published": [b"\xceone", b"a,b\n1,2\n", HEAD + b"byol\n", HEAD + b'"byol\n', HEAD + b"x," * 20 + b"\n"],
    "probe protocol": [b"", b"epochs: 10\n", b"version: 1\nfractions: [1]\n", b"version: 1\nfractions: {1: 2}\n"],
    "answers": [b'{"index": 0, "right": null}\n', b'{"index": 5, "right": true}\n'],
    "config beside weights": [
        b'{"pretrained_cfg": {"mean": [1, 1, 1], "std": true}}',
        b'{"pretrained_cfg": {"mean": [1, 1, 1], "std": [1, 1, 1' + b"0" * 400 + b"]}}",
        b'{"num_attention_heads": "x"}',
    ],
    "word problems": [b'{"query": "\\ud800", "response": "#### 1"}\n'],
    "cluster": [b"executor: slurm\nhours: 1" + b"0" * 400],
    "protocol": [b"SOLVER: {BASE_LR: 1" + b"0" * 400 + b"}"],
    "recipe": [b"optim: {lr: 1" + b"0" * 400 + b"}"],
    "job": [b'{"argv": [], "seconds": 1' + b"0" * 400 + b"}"],
    "curves": [b'{"setting": {}, "runs": {"a": [{"step": Infinity, "weights_sha256": "", "values": {}}]}}'],
    "log": [b"[" * 10_000 + b"\n", b'{"step": 1, "a": "\xed\xa0\x80"}\n'],
    "zip": [zip_cut_off()],
    "pack": [pack_file(size=[9, 2**62]), pack_file(count=[3]), pack_file(shard_size=[3072, 1]), index_file()],
    "image index": [
        index_file(labels=np.array([0, 1, 2], np.int32)),
        index_file(ends=np.array([9, 5, 27])),
        index_file(classes=[1, 2]),
        index_file(labels=np.array([], np.int32)),
        b"\x40\x9c" + bytes(6) + b"[" * 40_000,
    ],
}
"""Contents that raised something else than a UserError, or were read as something that they are not."""


# --- the property

FUZZ = settings(max_examples=25, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder for files, whose small pictures are all that is decoded."""
    with mock.patch.object(decode, "pixel_limit", lambda: 1_000_000):
        yield tmp_path_factory.mktemp("read")


def placed(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name.replace(" ", "_") / READERS[name].file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", READERS)
@FUZZ
@given(data=st.data())
def test_any_content_is_values_or_short_lines(folder, changes, capsys, name, data):
    content = data.draw(changes.contents(READERS[name].content, READERS[name].file))
    changes.readable_or_refused(READERS[name].read, placed(folder, name, content))


@pytest.mark.parametrize("name", READERS)
def test_a_whole_file_is_read(folder, changes, name):
    READERS[name].read(placed(folder, name, changes.written(READERS[name].content, READERS[name].file)))


@pytest.mark.parametrize("name", BROKEN)
def test_what_once_broke_a_reader_does_no_more(folder, changes, capsys, name):
    for content in BROKEN[name]:
        changes.readable_or_refused(READERS[name].read, placed(folder, name, content))


def npz_of(claimed: int) -> bytes:
    """An archive of arrays, of which one claims so many bytes."""
    content = bytearray(npz_file())
    at = content.index(b"PK\x01\x02") + 24
    content[at : at + 4] = struct.pack("<I", claimed)
    return bytes(content)


def png_of(side: int) -> bytes:
    """A picture whose header says that it is so large."""
    content = bytearray(picture("PNG"))
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


YAML = "\n".join(f"{y}: &{y} [{', '.join([f'*{x}'] * 9)}]" for x, y in zip("abcdefgh", "bcdefghi", strict=True))
LAUGHS = "".join(f'<!ENTITY {y} "{f"&{x};" * 9}">' for x, y in zip("abcdefgh", "bcdefghi", strict=True))
BOMBS = {
    "aliases of a preset": ("preset", f"a: &a [x]\n{YAML}".encode(), "more than 100,000 values"),
    "aliases of a protocol": ("protocol", f"a: &a [x]\n{YAML}".encode(), "more than 100,000 values"),
    "a protocol that is its own base": ("protocol", b"_BASE_: mine.yaml", "is not another file"),
    "a base elsewhere": ("protocol", b"_BASE_: ../../etc/passwd.yaml", "is not another file"),
    "levels of a result": ("result", b"[" * 10**6, "nests more than 64 levels"),
    "levels of a record": ("job", b"[" * 10**6, "nests more than 64 levels"),
    "levels of annotations": ("coco", b"[" * 10**6, "nests more than 64 levels"),
    "packed predictions": ("predictions", lambda: gzip.compress(b" " * (65 << 20), 1), "more than 65,536 KiB"),
    "a large record": ("job", 1 << 40, "more than 64 MiB"),
    "a large result": ("result", 1 << 40, "more than 65,536 KiB"),
    "a large recipe": ("recipe", 1 << 40, "more than 1,024 KiB"),
    "entities": ("voc", f'<!DOCTYPE x [<!ENTITY a "x">{LAUGHS}]><x>&i;</x>'.encode(), "no VOC annotation"),
    "a packed archive": ("npz", npz_of(1 << 30), "claims to unfold to 1.1 GB"),
    "a header of features": ("features", struct.pack("<Q", 1 << 60) + b"{" + bytes(50), "no feature file"),
    "a header of an index": ("image index", struct.pack("<Q", 1 << 60) + b"{" + bytes(50), "damaged"),
    "a header of tensors": ("safetensors", struct.pack("<Q", 1 << 60) + b"{" + bytes(50), "damaged safetensors"),
    "pixels": ("PNG", png_of(60_000), "the limit is"),
    "far more pixels": ("PNG", png_of(2_000_000), "pixels"),
}
"""What a small file can claim, or a sparse one of so many bytes hold -> the words of the line that refuses it."""


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_file_that_claims_much_is_refused_before_anything_is_set_aside_for_it(tmp_path, changes, bomb):
    name, content, words = BOMBS[bomb]
    path = placed(tmp_path, name, b"" if isinstance(content, int) else content() if callable(content) else content)
    if isinstance(content, int):
        os.truncate(path, content)
    with changes.modest(most_s=10), pytest.raises(UserError, match=words):
        READERS[name].read(path)
