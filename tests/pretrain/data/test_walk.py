"""Every image below a folder counts once, and what is left out is named."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.data import image_index, walk
from runtime.command_line import UserError


def tree(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def names(root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in walk.image_paths(root)]


def labelled(root: Path) -> tuple[int, list[str], list[int]]:
    index = walk.image_index(root)
    return len(index), index.classes, index.labels.tolist()


def test_every_real_folder_is_walked_once_whatever_links_lead_to_it(tmp_path):
    root = tree(tmp_path / "train", "a/1.jpg", "b/2.png", "b/deep/3.PGM")
    outside = tree(tmp_path / "outside", "4.jpe", "5.txt")
    for link, target in {"train": root, "a/up": root, "0": root / "b", "c": outside, "d": outside}.items():
        (root / link).symlink_to(target)
    assert names(root)[:3] == ["a/1.jpg", "b/2.png", "b/deep/3.PGM"] and names(root)[3] in ("c/4.jpe", "d/4.jpe")
    assert len(names(root)) == 4


def test_hidden_files_and_folders_are_left_out_and_counted(tmp_path, capsys):
    tree(tmp_path, "a/1.jpg", "a/._1.jpg", ".ipynb_checkpoints/1-checkpoint.jpg", "a/.DS_Store")
    assert names(tmp_path) == ["a/1.jpg"]
    assert "2 hidden files named like images" in capsys.readouterr().err
    assert labelled(tmp_path) == (1, ["a"], [0])


def test_folders_right_below_the_root_are_the_classes_and_one_without_images_is_named(tmp_path):
    tree(tmp_path, "cat/1.jpg", "cat/2.jpg", "dog/x/3.jpg", "fish/4.heic", ".git/5")
    count, classes, labels = labelled(tmp_path)
    assert (count, classes, labels) == (3, ["cat", "dog"], [0, 0, 1])
    with pytest.raises(UserError, match=r"1 folders hold no image \(fish; looked for .*.jpg"):
        walk.check_class_folders(tmp_path, classes)
    tree(tmp_path, "6.jpg")
    assert labelled(tmp_path) == (4, [], [image_index.NO_LABEL] * 4)


def test_suffixes_are_those_of_torchvision_and_more():
    from torchvision.datasets.folder import IMG_EXTENSIONS

    assert set(IMG_EXTENSIONS) <= set(walk.SUFFIXES)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    tree(tmp_path, "a/1.jpg", "b/2.jpg")
    real = os.scandir

    def scandir(folder):
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=f"{tmp_path / 'b'} cannot be read: Permission denied"):
        walk.image_paths(tmp_path)


NAMES = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=60)


@given(names=st.lists(st.tuples(NAMES, NAMES), min_size=1, max_size=8, unique=True))
def test_an_index_gives_back_every_name_in_the_order_of_paths(names, tmp_path_factory):
    names = sorted((f"{folder}/{name}" for folder, name in names), key=lambda name: name.split("/"))
    made = image_index.ImageIndex.of(names)
    path = tmp_path_factory.mktemp("index") / "images.safetensors"
    made.write(path)
    read = image_index.ImageIndex.read(path, check=True)
    assert isinstance(read.names.base, np.memmap) and read.identity == made.identity
    assert [read.name(i) for i in range(len(read))] == names
    assert [read.classes[label] for label in read.labels] == [name.split("/")[0] for name in names]


def test_a_damaged_index_is_named(tmp_path):
    path = tmp_path / "images.safetensors"
    image_index.ImageIndex.of(["cat/1.jpg", "dog/2.jpg"]).write(path)
    whole = path.read_bytes()
    deep = (100_000).to_bytes(8, "little") + b"[" * 100_000
    for content in (b"", whole[:20], whole[:-1], whole[:-1] + b"x", deep, whole.replace(b"checksum", b"checksun")):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            image_index.ImageIndex.read(path, check=True)
