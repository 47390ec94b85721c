"""What would stop a training run is found before it, with its entry; what is only odd is a warning."""

import json
import os
import re

import cv2
import numpy as np
import pytest

from transfer import check_data
from transfer.datasets import benchmarks


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
        options = [f"--{key.replace('_', '-')}" for key in benchmarks.PATHS]
        words = [str(word) for pair in zip(options, places, strict=True) for word in pair]
        return check_data.main(["--benchmark", "pets", *words, "--out", str(coco / "out"), *extra])

    return run


def test_a_sound_set_is_counted_and_drawn(pets, coco, capsys):
    assert pets() == 0
    said = capsys.readouterr().out
    assert "2 images, 0 of them without an object" in said
    assert "2 objects, 0 of them crowds; 2 with polygons" in said
    assert "dog       2 ██████████████████████████████" in said
    assert "warning: 'cat' is a category without an object" in said
    assert "ready to train on, 2 warnings" in said
    sheet = cv2.imread(str(coco / "out/contact_sheet.png"))
    assert sheet.shape == (346, 1280, 3)
    assert len(np.unique(sheet[26:266, :320].reshape(-1, 3), axis=0)) > 5, "the first object is drawn"


def _annotation(**changes):
    return lambda content: content["annotations"][1].update(changes)


def _many(content):
    """Eight objects, so that a pattern of their boxes is no chance."""
    content["annotations"] = [content["annotations"][0] | {"id": number} for number in range(8)]
    for entry in content["annotations"]:
        del entry["segmentation"]
        entry["bbox"] = [5, 5, 20 + entry["id"], 15]


@pytest.mark.parametrize(
    ("change", "stops", "message"),
    [
        (_annotation(segmentation=[[5, 5, 9]]), 1, "stops training: annotation id 12 has a polygon with an odd number"),
        (lambda content: content["images"][0].update(width=41), 1, "an image of another size than the json says .40 x"),
        (lambda content: content["images"][1].pop("width"), 1, "stops training: image id 2 lacks 'width'"),
        (lambda content: content["categories"].pop(0), 1, "1 'cat' is a category of one half only"),
        (_annotation(bbox=[5, 5, 0, 10]), 0, "warning: annotation id 12 has a box without area, which is left out"),
        (_annotation(segmentation=[[5, 5, 9, 9]]), 0, "polygon of fewer than three points, which is left out"),
        (_annotation(segmentation=[[5, 5, 60, 5, 25, 15]]), 0, "12 has a polygon outside its image .by 20.0"),
        (_annotation(iscrowd=None), 0, "warning: annotation id 12 lacks iscrowd; 0 is taken"),
        (_annotation(bbox=[0.1, 0.1, 0.5, 0.5]), 0, "annotation id 12 has a box between 0 and 1"),
        (_annotation(bbox=[5, 5, 25, 15]), 0, "annotation id 12 has a box that is not the box of its mask .by 5.0"),
        (_many, 0, "the file has boxes that all look like corners"),
        (
            lambda content: content["annotations"].append(content["annotations"][0] | {"id": 99}),
            0,
            "annotation id 99 is the same object as another",
        ),
        (
            lambda content: content["images"].append(content["images"][0] | {"id": 3}),
            0,
            "is the file of several images",
        ),
    ],
)
def test_a_fault_is_named_with_its_entry_and_its_weight(pets, capsys, change, stops, message):
    assert pets(change) == stops
    assert re.search(message, capsys.readouterr().out)


def test_names_of_any_letters_are_listed_and_drawn(pets, coco, capsys):
    """OpenCV crashes at a lone surrogate, a terminal obeys an escape sequence."""
    os.replace(coco / "images/1.png", coco / "images/\udc80.png")

    def hostile(content):
        content["images"][0]["file_name"] = "\udc80.png"
        content["categories"].append({"id": 9, "name": "\x1b[31mred\n\ud800"})
        content["annotations"][0]["category_id"] = 9

    assert pets(hostile) == 1, "the category is in one half only"
    assert (coco / "out/contact_sheet.png").exists() and "\x1b" not in capsys.readouterr().out


def test_a_16_bit_image_is_a_warning(pets, coco, capsys):
    cv2.imwrite(str(coco / "images/1.png"), np.full((30, 40), 9000, np.uint16))
    assert pets() == 0
    assert "1.png is a 16-bit image, of which the upper 8 bits are used" in capsys.readouterr().out


def test_a_truncated_and_an_unreadable_image_stop_training(pets, coco, capsys):
    whole = (coco / "images/1.png").read_bytes()
    (coco / "images/1.png").write_bytes(whole[:-30])
    (coco / "images/2.png").write_bytes(b"no image")
    assert pets() == 1
    assert "stops training: 2 x is an image that cannot be read" in capsys.readouterr().out
    faults = json.loads((coco / "out/check.json").read_text())["faults"]["train"]
    assert sum(fault["stops"] for fault in faults) == 2


def test_broken_pixels_are_found_by_decoding(pets, coco, capsys):
    whole = bytearray((coco / "images/1.png").read_bytes())
    whole[45:60] = bytes(15)
    (coco / "images/1.png").write_bytes(bytes(whole))
    assert pets() == 0
    assert pets(None, "--decode") == 1
    assert "cannot be read" in capsys.readouterr().out


def test_an_image_turned_by_its_exif_has_the_size_detectron2_sees(tmp_path):
    from PIL import Image

    from transfer.datasets.image_files import fault_of

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    assert fault_of(tmp_path / "turned.jpg", (30, 40), decode=False) is None
    assert fault_of(tmp_path / "turned.jpg", (40, 30), decode=False).stops


def test_images_of_both_halves_are_a_warning(coco, capsys):
    words = []
    for half in ("train", "val"):
        words += [f"--{half}-json", str(coco / "data.json"), f"--{half}-images", str(coco / "images")]
    assert check_data.main(["--benchmark", "pets", *words, "--out", str(coco / "out")]) == 0
    assert "warning: 2 x is an image of train and of val" in capsys.readouterr().out
