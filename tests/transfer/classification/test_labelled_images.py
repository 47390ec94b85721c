import hashlib
import os
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from pretrain.checkpoints import checkpoint
from pretrain.data import packing
from runtime.command_line import UserError
from transfer import linear
from transfer.classification import label_subset, labelled_images
from transfer.classification.crops import CentreCrop, CentreCrops, RandomCrop, RandomCrops


@pytest.fixture
def pets(tmp_path):
    """train/{cat,dog} with two images each, val/{cat,dog} with one: 8 pixels, a colour for each class."""
    for split, count in (("train", 2), ("val", 1)):
        for name, colour in (("cat", "red"), ("dog", "blue")):
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (8, 8), colour).save(tmp_path / split / name / f"{number}.png")
    return tmp_path


def test_folders_are_classes(pets):
    train, val = labelled_images.load("pets", pets)
    assert train.classes == val.classes == ["cat", "dog"]
    assert train.names == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"] and train.labels == [0, 0, 1, 1]
    part = train.subset([1, 2])
    assert (part.names, part.labels, len(part)) == (["cat/1.png", "dog/0.png"], [0, 1], 2)
    assert part.pixels(1)[0, 0].tolist() == [0, 0, 255]
    assert part.fingerprint() != train.fingerprint() == labelled_images.load("pets", pets)[0].fingerprint()


def test_names_that_are_not_utf8_are_names(pets, tmp_path):
    """Those that are hash as before: SHA-256 of their UTF-8 text."""
    (pets / "train/cat/0.png").rename(pets / "train/cat/caf\u00e9.png")
    train, _ = labelled_images.load("pets", pets)
    lines = "cat/1.png cat\ncat/caf\u00e9.png cat\ndog/0.png dog\ndog/1.png dog\n"
    assert train.fingerprint() == hashlib.sha256(lines.encode()).hexdigest()
    for part in ("train", "val"):
        (pets / part / "cat").rename(os.fsdecode(os.fsencode(pets / part) + b"/c\xe4t"))
    train, val = labelled_images.load("pets", pets)
    assert train.fingerprint() != val.fingerprint()
    label_subset.write(train.subset([2, 0]), tmp_path / "list.txt")
    assert b"c\xe4t/" in (tmp_path / "list.txt").read_bytes()
    assert label_subset.listed(train, tmp_path / "list.txt", percent=50) == [0, 2]
    assert label_subset.fingerprint(train) != label_subset.fingerprint(val)
    call = ["--benchmark", "pets", "--data", str(pets), "--out", str(tmp_path / "out"), "--weights", "random"]
    call += ["--protocol", "linear-demo", "network=resnet18", "batch_size=4", "epochs=1", "size=8", "resize=8"]
    assert linear.main([*call, "workers=0"]) == 0
    assert os.fsencode(checkpoint.read(tmp_path / "out/classifier.pth")["classes"][0]) == b"c\xe4t"


def test_scenes_are_found_from_their_folder_and_from_the_one_above(scenes):
    above, own = (labelled_images.load("scenes", root)[0] for root in (scenes, scenes / "classification"))
    assert above.names == own.names and len(above.classes) == 8


def test_packed_images_are_the_same_set(pets, tmp_path):
    for part in ("train", "val"):
        packing.pack(pets / part, tmp_path / "packed" / part, shard_bytes=1000)
    for files, packed in zip(
        *(labelled_images.load("pets", root) for root in (pets, tmp_path / "packed")), strict=True
    ):
        assert (files.fingerprint(), files.labels) == (packed.fingerprint(), packed.labels)
        assert all(np.array_equal(files.pixels(i), packed.pixels(i)) for i in range(len(files)))


def test_wrong_folders_are_one_line(pets):
    with pytest.raises(UserError, match="benchmark imagenet: give the folder of its images with --data"):
        labelled_images.load("imagenet", None)
    with pytest.raises(UserError, match="no folder of images at .*nowhere/train"):
        labelled_images.load("pets", pets / "nowhere")
    (pets / "val/fox").mkdir()
    Image.new("RGB", (8, 8)).save(pets / "val/fox/1.png")
    with pytest.raises(UserError, match="must hold the same classes; 'fox' is only in one"):
        labelled_images.load("pets", pets)
    Image.new("RGB", (8, 8)).save(pets / "train/stray.png")
    with pytest.raises(UserError, match="outside class folders, the first stray.png"):
        labelled_images.load("pets", pets)


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    for split in ("train", "val"):
        (tmp_path / split / "cat").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / split / "cat/1.png")
    with pytest.raises(UserError, match="holds one class, 'cat'; classification needs two or more"):
        labelled_images.load("pets", tmp_path)


def test_cifar_comes_from_the_published_archive_only(tmp_path, monkeypatch):
    """Six images in the archive's format: refused for their MD5; with the check held off, both halves are read."""
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    names = [f"class{number:03d}" for number in range(100)]
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": names}))
    for part, count in (("train", 4), ("test", 2)):
        content = {"data": np.full((count, 3072), 7, np.uint8), "fine_labels": list(range(count))}
        (folder / part).write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match="no complete cifar100 at .*cifar-100-python .missing or altered files"):
        labelled_images.load("cifar100", tmp_path)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5: True)
    train, val = labelled_images.load("cifar100", tmp_path)
    assert (len(train), len(val), len(train.classes)) == (4, 2, 100)
    assert train.names[3] == "00003" and train.labels == [0, 1, 2, 3] and train.pixels(0).shape == (32, 32, 3)


@pytest.mark.parametrize("by", ["cv2", "torchvision"])
def test_a_crop_is_a_function_of_seed_epoch_and_index(scenes, by):
    images, _ = labelled_images.load("scenes", scenes)
    crop = RandomCrop(size=16, min_scale=0.1, crops=by)
    crops = [RandomCrops(images, crop, size=16, seed=seed) for seed in (0, 0, 1)]
    torch.manual_seed(5)  # chance elsewhere changes nothing
    pixels, label, fault = crops[0][3, 7]
    assert pixels.shape == (3, 16, 16) and pixels.dtype == torch.uint8 and (label, fault) == (images.labels[7], "")
    assert torch.equal(pixels, crops[1][3, 7][0])
    for other in (crops[0][4, 7], crops[0][3, 8], crops[2][3, 7]):
        assert not torch.equal(pixels, other[0])


def test_random_crops_differ_in_area_place_and_side():
    """A ramp to the right and downwards tells of each crop where it lies, how large it is, and whether it is turned."""
    ramp = np.indices((100, 100)).transpose(1, 2, 0).astype(np.uint8)
    pixels = np.concatenate([ramp, ramp[..., :1]], axis=2)
    crop, seen = RandomCrop(size=10, min_scale=0.25), []
    for index in range(60):
        down, right, _ = crop(pixels, (0, 0, index)).double()
        seen.append((right.mean(), down.mean(), (down[-1] - down[0]).mean(), (right[:, -1] - right[:, 0]).mean()))
    x, y, height, width = torch.tensor(seen).T
    assert (height > 0).all() and 20 <= (width < 0).sum() <= 40  # half are flipped, none stands on its head
    area = height * width.abs() / 0.9**2 / 100**2  # first and last pixel lie a tenth of the crop apart
    assert area.min() > 0.2 and area.max() < 1.05 and 0.5 < area.mean() < 0.75
    assert x.std() > 5 and y.std() > 5


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("sides", [(375, 500), (500, 333), (64, 64), (257, 301), (20, 31)])
def test_the_central_crop_is_torchvisions_but_for_rounding(sides, interpolation):
    noise = np.random.default_rng(0).integers(256, size=(*sides, 3), dtype=np.uint8)
    how = {"size": 28, "resize": 32, "interpolation": interpolation}
    quick, theirs = (CentreCrop(crops=by, **how)(noise).int() for by in ("cv2", "torchvision"))
    assert quick.shape == (3, 28, 28) and (quick - theirs).abs().max() <= 1


@pytest.mark.parametrize(("interpolation", "most", "beyond_1"), [("bilinear", 1, 0), ("bicubic", 20, 0.022)])
def test_a_tall_images_central_crop_in_bicubic_differs_where_sums_leave_the_bytes(interpolation, most, beyond_1):
    """Pillow resizes it vertically first and cuts off what leaves 0 to 255 in between. Noise is the worst image."""
    noise = np.random.default_rng(0).integers(256, size=(500, 200, 3), dtype=np.uint8)
    how = {"size": 157, "resize": 180, "interpolation": interpolation}
    quick, theirs = (CentreCrop(crops=by, **how)(noise).int() for by in ("cv2", "torchvision"))
    differences = (quick - theirs).abs()
    assert differences.max() <= most and (differences > 1).double().mean() <= beyond_1


@pytest.mark.parametrize("by", ["cv2", "torchvision"])
def test_the_central_crop_keeps_whole_images_whole(pets, by):
    images, _ = labelled_images.load("pets", pets)
    pixels, _, _ = CentreCrops(images, size=8, resize=8, crops=by)[0]
    assert pixels.shape == (3, 8, 8) and (pixels[0] == 255).all() and (pixels[1:] == 0).all()
