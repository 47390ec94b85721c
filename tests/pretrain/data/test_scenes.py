import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pretrain.data import drawing, scenes
from runtime.command_line import UserError


def test_masks_are_the_pixels_the_object_changed(monkeypatch):
    """Paint every object pure red on pure blue: the red pixels are the union of the masks, pixel for pixel."""
    monkeypatch.setattr(drawing, "background", lambda rng, size: np.full((size, size, 3), (0.0, 0, 1)))
    monkeypatch.setattr(drawing, "surface", lambda rng, name, size, **place: np.full((size, size, 3), (1.0, 0, 0)))
    for index in range(30):
        scene = scenes.draw("detection/train", index, size=64, seed=3)
        red = scene.image[..., 0] > 127
        assert (red == np.any(scene.masks, axis=0)).all()


def test_masks_do_not_overlap_and_each_object_stays_half_visible():
    for index in range(60):
        scene = scenes.draw("detection/train", index, size=64, seed=1)
        assert np.sum(scene.masks, axis=0).max() == 1
        assert 1 <= len(scene.masks) <= 4 and len(scene.masks) == len(scene.classes)


def test_every_shape_is_recognisable_by_its_area_and_holes():
    """Areas in units of the circumscribed disk, from geometry; only the ring has a hole."""
    expected = {"disk": 0.81, "square": 0.64, "hexagon": 0.83, "triangle": 0.41, "ring": 0.63, "cross": 0.70}
    for name in drawing.CLASSES:
        mask = drawing.shape_mask(name, centre=np.array([100.0, 100]), radius=80, angle=0.3, size=200)
        share = mask.sum() / (np.pi * 80**2)
        assert name not in expected or abs(share - expected[name]) < 0.03, (name, share)
        holes = cv2.connectedComponents((~mask).astype(np.uint8))[0] - 2
        assert holes == (1 if name == "ring" else 0)


def test_a_surface_moves_and_turns_with_its_object():
    """A quarter of a turn about the centre of the image turns the pattern by as much: upright stripes become level."""
    place = {"centre": np.array([32.0, 32]), "radius": 24, "size": 64}
    for name in drawing.CLASSES:
        straight, turned = (
            drawing.surface(np.random.default_rng(7), name, angle=angle, **place) for angle in (0.0, np.pi / 2)
        )
        same = (np.rot90(straight, -1) == turned).all(-1).mean()
        assert same > 0.98, (name, same)  # but for pixels on an edge of the pattern
        assert len(np.unique(straight.reshape(-1, 3), axis=0)) == 2


def test_coco_file_agrees_with_the_drawing(scenes):
    coco = json.loads((scenes / "detection/val.json").read_text())
    assert [c["name"] for c in coco["categories"]] == list(drawing.CLASSES)
    assert [c["id"] for c in coco["categories"]] == list(range(1, 9))
    for annotation in coco["annotations"]:
        mask = coco_mask.decode(annotation["segmentation"]).astype(bool)
        x, y, w, h = annotation["bbox"]
        assert annotation["area"] == mask.sum()
        assert mask[y : y + h, x : x + w].sum() == mask.sum()  # nothing outside the box, and the box is tight:
        assert mask[y].any() and mask[y + h - 1].any() and mask[:, x].any() and mask[:, x + w - 1].any()


def test_an_image_is_a_function_of_seed_split_and_index():
    draw = lambda seed, index: scenes.draw("unlabelled", index, size=40, seed=seed).image  # noqa: E731
    assert (draw(0, 5) == draw(0, 5)).all()
    assert (draw(0, 5) != draw(1, 5)).any() and (draw(0, 5) != draw(0, 6)).any()


def test_written_once_then_reused_and_never_mixed(tmp_path):
    out = tmp_path / "set"
    scenes.write(out, images=40, size=32, seed=0)
    first = (out / "unlabelled/000000.jpg").stat().st_mtime_ns
    scenes.write(out, images=40, size=32, seed=0)
    assert (out / "unlabelled/000000.jpg").stat().st_mtime_ns == first
    with pytest.raises(UserError, match="holds scenes drawn with"):
        scenes.write(out, images=40, size=32, seed=1)


def test_a_set_begun_and_never_finished_leaves_nothing_in_a_smaller_one(tmp_path):
    out = tmp_path / "set"
    scenes.write(out, images=60, size=32, seed=0)
    (out / "scenes.json").write_text('{"images": 60')
    with pytest.raises(UserError, match="scenes.json.*delete it, and the same command draws the set again"):
        scenes.write(out, images=40, size=32, seed=0)
    (out / "scenes.json").unlink()
    scenes.write(out, images=40, size=32, seed=0)
    assert len(list((out / "unlabelled").iterdir())) == 40
    assert {path.name for path in out.iterdir()} == {*scenes.PARTS, "scenes.json"} - {".lock"}


def test_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not a folder of scenes"):
        scenes.write(tmp_path, images=40, size=32, seed=0)
