"""A pack is the tree it was made of: the same images in the same order, whatever happens on the way."""

import os
import pickle
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain import pack
from pretrain.config import DataConfig, TrainConfig, ViewsConfig
from pretrain.data import datasets, mapped_arrays, packing, shards
from runtime.command_line import UserError

SHARD = 4000
"""Bytes: two or three of the images below."""

ODD = ["a/\udcff\n'\".jpg", f"b/{'long' * 40}/{'x' * 200}.png"]


@pytest.fixture
def tree(tmp_path) -> Path:
    """Seven images of two classes, one of which is cut off and one empty."""
    root = tmp_path / "tree"
    for number, name in enumerate(["a/1.jpg", "a/2.png", "a/cut.jpg", "b/empty.jpg", "b/deep/3.jpg", *ODD]):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(path)
    (root / "a/cut.jpg").write_bytes((root / "a/cut.jpg").read_bytes()[:300])
    (root / "b/empty.jpg").write_bytes(b"")
    return root


@pytest.fixture
def packed(tree, tmp_path) -> Path:
    packing.pack(tree, tmp_path / "packed", shard_bytes=SHARD)
    return tmp_path / "packed"


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def first_batches(root: Path, workers: int) -> list:
    settings = TrainConfig(
        batch_size=3, data=DataConfig(root=str(root), workers=workers), views=ViewsConfig(size=8, backend="cv2")
    )
    source = datasets.images(settings.data)
    loader = datasets.batches(source, settings, total_steps=4, start=0, device=torch.device("cpu"))
    return [(batch.views, batch.labels.tolist(), batch.unreadable) for batch in loader]


def test_a_pack_gives_the_batches_of_its_tree(tree, packed):
    one, other = datasets.ImageFolder(tree), datasets.ImageFolder(packed)
    assert one.identity == other.identity and one.classes == other.classes == ["a", "b"]
    assert one.labels.tolist() == other.labels.tolist()
    assert [one.name(i) for i in range(7)] == [other.name(i) for i in range(7)]
    expected = first_batches(tree, 0)
    assert {"a/cut.jpg", "b/empty.jpg"} == {name for _, _, names in expected for name in names}
    for found in (first_batches(packed, 0), first_batches(packed, 2)):
        for (a, *rest), (b, *others) in zip(expected, found, strict=True):
            assert rest == others and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_shards_are_plain_tar_files(tree, packed, tmp_path):
    """Any name of the file system is kept; what `tar` unpacks is the tree."""
    for path in sorted(packed.glob("*.tar")):
        assert tarfile.is_tarfile(path)
        subprocess.run(["tar", "xf", path, "-C", tmp_path / "packed"], check=True)
    originals = {path.relative_to(tree): path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    assert len(originals) == 7 and len(list(packed.glob("*.tar"))) > 2
    assert originals == {name: (packed / name).read_bytes() for name in originals}
    shards.check(packed)


def test_a_copy_for_another_process_opens_its_own_files(packed):
    source = datasets.ImageFolder(packed)
    one = source.pixels(0)
    copy = pickle.loads(pickle.dumps(source))
    assert source.shards.files and not copy.shards.files
    assert np.array_equal(copy.pixels(0), one) and isinstance(copy.index.ends, np.memmap)


def test_more_shards_than_files_may_be_open(packed, monkeypatch):
    monkeypatch.setattr(shards, "MOST_OPEN", 1)
    source = shards.Shards(packed)
    assert [len(source.read(i)) for i in range(7)] == source.places.size.tolist() and len(source.files) == 1


def test_killed_at_any_event_the_same_command_ends_with_the_same_bytes(tree, tmp_path, kills):
    assert kills.survives(lambda out: packing.pack(tree, out, shard_bytes=SHARD), tmp_path, tries=20) == 20


def test_a_finished_pack_is_left_alone_and_a_lost_shard_is_made_again(tree, packed):
    before, stamps = files(packed), {path.name: path.stat().st_mtime_ns for path in packed.iterdir()}
    packing.pack(tree, packed, shard_bytes=SHARD)
    assert stamps == {path.name: path.stat().st_mtime_ns for path in packed.iterdir()}
    (packed / "shard-00001.tar").unlink()
    packing.pack(tree, packed, shard_bytes=SHARD)
    assert files(packed) == before
    (packed / "images.safetensors").write_bytes(b"damaged")
    packing.pack(tree, packed, shard_bytes=SHARD)
    assert files(packed) == before


def test_a_file_that_changes_while_it_is_packed_is_named_and_packed_the_next_time(tree, tmp_path, monkeypatch):
    out, real = tmp_path / "packed", packing.Source._content

    def content(source, number):
        if number == 4:  # after the first shard is written
            (tree / source.index.name(4)).write_bytes(b"other")
        return real(source, number)

    monkeypatch.setattr(packing.Source, "_content", content)
    with pytest.raises(UserError, match="b/deep/3.jpg changed while it was packed"):
        packing.pack(tree, out, shard_bytes=SHARD)
    monkeypatch.undo()
    packing.pack(tree, out, shard_bytes=SHARD)
    packing.verify(out)
    assert shards.Shards(out).read(4) == b"other"
    (tree / "a/1.jpg").write_bytes(b"changed after all was packed")
    with pytest.raises(UserError, match="shard-00000.tar changed since they were packed; give another OUT"):
        packing.pack(tree, out, shard_bytes=SHARD)


def test_shards_of_larger_files_that_an_interrupted_pack_has_left_go(tree, tmp_path, monkeypatch):
    real, out, fresh = packing.Source._content, tmp_path / "packed", tmp_path / "fresh"
    monkeypatch.setattr(packing.Source, "_content", lambda source, n: real(source, n if n < 6 else 1 / 0))
    with pytest.raises(ZeroDivisionError):
        packing.pack(tree, out, shard_bytes=100)
    monkeypatch.undo()
    assert len(list(out.glob("shard-*.tar"))) > 3
    for name in ("1.jpg", "2.png", "cut.jpg"):
        (tree / "a" / name).write_bytes(b"small")
    for folder in (out, fresh):
        packing.pack(tree, folder, shard_bytes=100)
    assert files(out) == files(fresh)


def test_a_disk_that_writes_other_bytes_is_noticed(tree, tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor):
        if ".tar." in os.readlink(f"/proc/self/fd/{descriptor}"):
            os.pwrite(descriptor, b"!", 600)  # inside the first image
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match=r"shard-00000.tar: a/1.jpg is damaged"):
        packing.pack(tree, tmp_path / "packed", shard_bytes=SHARD)
    assert not list((tmp_path / "packed").glob("*.tar"))


def test_damage_is_found_by_the_check_and_in_training(packed):
    shard = packed / "shard-00001.tar"
    opened = shards.Shards(packed)
    first = int(opened.places.count[0])
    name, whole = opened.index.name(first), bytearray(shard.read_bytes())
    whole[int(opened.places.offset[first]) + 20] ^= 1
    shard.write_bytes(whole)
    told = f"{shard}: {name} is damaged \\(another checksum\\)"
    with pytest.raises(UserError, match=told):
        packing.verify(packed)
    source = datasets.ImageFolder(packed)
    for read in (source.pixels, source.__getitem__):
        with pytest.raises(shards.DamagedShard, match=told):
            read(first)
    settings = TrainConfig(batch_size=7, data=DataConfig(root=str(packed), workers=1), views=ViewsConfig(size=8))
    (batch,) = datasets.batches(source, settings, total_steps=1, start=0, device=torch.device("cpu"))
    assert batch.fault.startswith(f"{shard}: {name} is damaged") and "\n" not in batch.fault
    whole[int(opened.places.offset[first]) + 20] ^= 1
    whole[0] ^= 1
    shard.write_bytes(whole)
    with pytest.raises(UserError, match="shard-00001.tar is damaged between its images"):
        packing.verify(packed)
    shard.write_bytes(whole[:-1])
    with pytest.raises(UserError, match=f"shard-00001.tar has {len(whole) - 1} bytes, its index says {len(whole)}"):
        datasets.ImageFolder(packed)
    shard.unlink()
    with pytest.raises(UserError, match="shard-00001.tar cannot be read: No such file"):
        datasets.ImageFolder(packed)


def test_an_unfinished_pack_is_not_read(packed):
    (packed / "images.safetensors").unlink()
    with pytest.raises(UserError, match="is not packed to the end .*; give the command of pretrain/pack.py again"):
        datasets.ImageFolder(packed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tree"], "expected SRC and OUT"),
        (["tree", "tree/a/out"], "lie in each other"),
        (["tree", "out", "--shard-mb", "0"], "--shard-mb is 0, expected"),
        (["tree", "out", "--check"], "--check takes the folder of a pack alone"),
        (["nothing", "out"], "no folder of images at .*nothing"),
        (["full", "out"], "no image below .*full"),
        (["tree", "full"], r"full is not empty and no pack \(it holds notes.txt\)"),
        (["packed", "out"], "packed is packed already"),
        (["tree", "packed"], r"packed is the pack of another tree or of other settings \(shard_bytes 4000, not 1073"),
        (["--check", "tree"], "tree is no pack"),
        (["links", "out"], r"links/a/1.jpg cannot be read: No such file .*\n.*links/a/2.jpg is no file"),
    ],
)
def test_what_cannot_be_packed_is_one_line(tree, packed, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    (tmp_path / "links/a").mkdir(parents=True)
    (tmp_path / "links/a/1.jpg").symlink_to("nowhere")
    os.mkfifo(tmp_path / "links/a/2.jpg")
    before = files(packed)
    with pytest.raises(UserError, match=message):
        pack.main(arguments)
    assert files(packed) == before and not (tmp_path / "out").exists()


def test_space_is_looked_at_first(tree, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=17 << 20))
    packing.pack(tree, tmp_path / "fits", shard_bytes=SHARD)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=16 << 20))
    with pytest.raises(UserError, match="has 16 MiB free, the shards need 1 more; make room there"):
        packing.pack(tree, tmp_path / "packed", shard_bytes=SHARD)
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {"pack.json"}


def test_an_index_of_other_images_is_named_though_its_checksum_is_right(packed):
    """A resumed run goes by the identity."""
    arrays, about = mapped_arrays.read(packed / "images.safetensors", check=True)
    mapped_arrays.write(packed / "images.safetensors", {**arrays, "names": arrays["names"][::-1].copy()}, about)
    with pytest.raises(UserError, match="is no index of shards"):
        datasets.ImageFolder(packed)
