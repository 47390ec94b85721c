"""What would stop a training run is found before it, with its entry; what is only odd is a warning."""

import json
import re

import cv2
import numpy as np
import pytest

from transfer import check_data


@pytest.fixture
def pets(coco):
    """``pets(change)`` checks ``coco`` after ``change`` was made to its train half, and returns the exit code."""
    (coco / "val").mkdir()
    for path in (coco / "images").iterdir():
        (coco / "val" / path.name).write_bytes(path.read_bytes())
    (coco / "val.json").write_text((coco / "data.json").read_text())

    def run(change=None, *extra: str) -> int:
        content = json.loads((coco / "data.json").read_text())
        if change:
            change(content)
        (coco / "data.json").write_text(json.dumps(content))
        places = [coco / "data.json", coco / "images", coco / "val.json", coco / "val"]
        options = [f"--{key.replace('_', '-')}" for key in check_data.PATHS]
        words = [str(word) for pair in zip(options, places, strict=True) for word in pair]
        return check_data.main(["--benchmark", "pets", *words, "--out", str(coco / "out"), *extra])

    return run


def test_a_sound_set_is_counted_and_drawn(pets, coco, capsys):
    assert pets() == 0
    said = capsys.readouterr().out
    assert "2 images, 0 of them without an object" in said
    assert "2 objects, 0 of them crowds; 2 with polygons" in said
    assert "dog       2 ██████████████████████████████" in said
    assert "warning: 1 x is a category without an object: cat" in said
    assert "ready to train on, 2 warnings" in said
    sheet = cv2.imread(str(coco / "out/contact_sheet.png"))
    assert sheet.shape == (346, 1280, 3)
    assert len(np.unique(sheet[26:266, :320].reshape(-1, 3), axis=0)) > 5, "the first object is drawn"


def _annotation(**changes):
    return lambda content: content["annotations"][1].update(changes)


@pytest.mark.parametrize(
    ("change", "stops", "message"),
    [
        (
            _annotation(bbox=[30, 5, 20, 10]),
            1,
            r"stops training: 1 x has box \[..\] outside its image of .. x ..: annot",
        ),
        (_annotation(bbox=None), 1, "has box None, expected"),
        (_annotation(image_id=9), 1, "belongs to image .., which is not among the images: annotation id 12"),
        (_annotation(category_id=9), 1, "has category .., which is not among the categories"),
        (_annotation(segmentation=[[5, 5, 9]]), 1, "has a polygon with an odd number of coordinates"),
        (
            _annotation(segmentation={"size": [30, 40], "counts": [5, 5]}),
            1,
            "has run lengths that do not fill its image",
        ),
        (_annotation(segmentation=[[5, 5, float("nan"), 5, 25, 15]]), 1, "has a polygon that is not finite"),
        (
            lambda content: content["images"][0].update(file_name="no.png"),
            1,
            "is a file that is not in the image folder",
        ),
        (
            lambda content: content["images"][0].update(width=41),
            1,
            r"another size than the json says: .*\(40, 30\), json",
        ),
        (lambda content: content["images"][1].pop("width"), 1, "stops training: 1 x lacks 'width': image id 2"),
        (lambda content: content["categories"].pop(0), 1, "is a category of one half only: 1 cat"),
        (
            _annotation(bbox=[5, 5, 0, 10]),
            0,
            "warning: 1 x has a box without area, which is left out: annotation id 12",
        ),
        (_annotation(segmentation=[[5, 5, 9, 9]]), 0, "polygon of fewer than three points, which is left out"),
        (
            _annotation(segmentation=[[5, 5, 60, 5, 25, 15]]),
            0,
            "has a polygon outside its image: annotation id 12 by 20.0",
        ),
        (
            lambda content: content["annotations"].append(content["annotations"][0] | {"id": 99}),
            0,
            "same object as another",
        ),
        (
            lambda content: content["images"].append(content["images"][0] | {"id": 3}),
            0,
            "is the file of several images",
        ),
        (
            lambda content: content["categories"].append({"id": 8, "name": "dog"}),
            1,
            "is the name of several categories",
        ),
    ],
)
def test_a_fault_is_named_with_its_entry_and_its_weight(pets, capsys, change, stops, message):
    assert pets(change) == stops
    assert re.search(message, capsys.readouterr().out)


def test_a_truncated_and_an_unreadable_image_stop_training(pets, coco, capsys):
    whole = (coco / "images/1.png").read_bytes()
    (coco / "images/1.png").write_bytes(whole[:-12])
    (coco / "images/2.png").write_bytes(b"no image")
    assert pets() == 1
    said = capsys.readouterr().out
    assert "1 x is an image that ends too early" in said and "1.png" in said
    assert "1 x is an image that cannot be read" in said and "2.png" in said
    assert len(json.loads((coco / "out/check.json").read_text())["faults"]["train"]) == 3


def test_broken_pixels_are_found_by_decoding(pets, coco, capsys):
    whole = bytearray((coco / "images/1.png").read_bytes())
    whole[45:60] = bytes(15)
    (coco / "images/1.png").write_bytes(bytes(whole))
    assert pets() == 0
    assert pets(None, "--decode") == 1
    assert "cannot be read" in capsys.readouterr().out


def test_an_image_turned_by_its_exif_has_the_size_detectron2_sees(tmp_path):
    from PIL import Image

    from transfer.datasets.fault_summary import in_image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    assert in_image(tmp_path / "turned.jpg", (30, 40), decode=False) is None
    assert in_image(tmp_path / "turned.jpg", (40, 30), decode=False).stops


def test_images_of_both_halves_are_a_warning(coco, capsys):
    words = []
    for half in ("train", "val"):
        words += [f"--{half}-json", str(coco / "data.json"), f"--{half}-images", str(coco / "images")]
    assert check_data.main(["--benchmark", "pets", *words, "--out", str(coco / "out")]) == 0
    assert "warning: 2 x is an image of train and of val" in capsys.readouterr().out


def test_packed_run_lengths_are_read_as_pycocotools_reads_them():
    from pycocotools import mask as coco_mask

    from transfer.datasets.fault_summary import unpacked

    rng = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.98):
        mask = np.asfortranarray((rng.random((40, 300)) < share).astype(np.uint8))
        packed = coco_mask.encode(mask)["counts"].decode()
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.ravel("F"), [2]])))
        assert unpacked(packed) == np.diff(np.concatenate([[0], edges])).tolist()
