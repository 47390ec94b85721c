"""Every part of the suite opens an image by one function: the same picture, or one line that names the file."""

import os

import numpy as np
import pytest
from PIL import Image

from pretrain.data import decode
from pretrain.data.decode import UnreadableImage, read_header, read_image
from runtime.command_line import UserError

PIXELS = np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8)
RGB = Image.fromarray(PIXELS)
GREY = PIXELS[..., 0]
DEEP = Image.fromarray(GREY.astype(np.uint16) * 256 + 77)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("name", "image", "options"),
    [
        ("a.jpg", RGB, {}),
        ("a.png", RGB, {}),
        ("a.webp", RGB, {}),
        ("a.bmp", RGB, {}),
        ("a.ppm", RGB, {}),
        ("a.tif", RGB, {}),
        ("a.gif", RGB, {}),
        ("grey.jpg", RGB.convert("L"), {}),
        ("cmyk.jpg", RGB.convert("CMYK"), {}),
        ("palette.png", RGB.quantize(16), {"transparency": 0}),
        ("alpha.png", RGB.convert("RGBA"), {}),
        ("grey_alpha.png", RGB.convert("LA"), {}),
        ("one_bit.png", RGB.convert("1"), {}),
        ("turned.jpg", RGB, {"exif": turned(6)}),
        ("turned.png", RGB, {"exif": turned(5)}),
        ("damaged_exif.jpg", RGB, {"exif": b"Exif\0\0\0\0\x11\0\0\x01\x04\0"}),
        ("animated.gif", RGB, {"save_all": True, "append_images": [RGB.transpose(0)]}),
    ],
)
def test_detectron2_sees_the_same_picture(tmp_path, name, image, options):
    from detectron2.data import detection_utils

    image.save(tmp_path / name, **options)
    expected = detection_utils.read_image(str(tmp_path / name), "RGB")
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / name)), expected)
    header = read_header(tmp_path / name)
    assert (header.height, header.width, 3) == expected.shape and not header.sixteen_bit


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
def test_grey_of_16_bits_keeps_the_upper_8(tmp_path, name):
    DEEP.save(tmp_path / name)
    np.testing.assert_array_equal(np.asarray(read_image(tmp_path / name)), np.stack([GREY] * 3, -1))
    assert read_header(tmp_path / name).sixteen_bit


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_every_format_is_turned_by_its_exif(tmp_path, orientation, suffix):
    path = tmp_path / f"a.{suffix}"
    RGB.save(path, exif=turned(orientation), lossless=True)
    from PIL import ImageOps

    expected = RGB.copy()
    expected.getexif()[0x0112] = orientation
    expected = ImageOps.exif_transpose(expected)
    np.testing.assert_array_equal(np.asarray(read_image(path)), np.asarray(expected))
    header = read_header(path)
    assert (header.width, header.height) == expected.size


def test_an_orientation_behind_the_pixels_of_a_png_turns_the_size_too(tmp_path):
    RGB.save(tmp_path / "a.png", exif=turned(6))
    whole = (tmp_path / "a.png").read_bytes()
    at = whole.index(b"eXIf") - 4
    end = at + 12 + int.from_bytes(whole[at : at + 4], "big")
    (tmp_path / "a.png").write_bytes(whole[:at] + whole[end:-12] + whole[at:end] + whole[-12:])
    header = read_header(tmp_path / "a.png")
    assert (header.width, header.height) == (30, 40) == read_image(tmp_path / "a.png").size


@pytest.mark.parametrize("image", [Image.fromarray(GREY.astype(kind)) for kind in (np.float32, np.int32)])
def test_pixels_without_a_known_range_are_refused(tmp_path, image):
    image.save(tmp_path / "a.tif")
    for read in (read_image, read_header):
        with pytest.raises(UnreadableImage, match="a.tif has .* pixels without a known range"):
            read(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["EPS", "AVIF", "DDS", "JPEG2000", "ICO"])
def test_formats_that_are_not_listed_are_refused_under_any_name(tmp_path, kind):
    try:
        RGB.save(tmp_path / "a.jpg", format=kind)
    except (KeyError, OSError) as error:
        pytest.skip(f"this Pillow does not write {kind}: {error}")
    with pytest.raises(UnreadableImage, match="a.jpg is no image of a known format .JPEG, PNG"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_a_truncated_file_is_named_before_it_is_decoded(tmp_path, name):
    RGB.save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: 2 * len(whole) // 3])
    for read in (read_image, read_header):
        with pytest.raises(UnreadableImage, match=f"{name} cannot be decoded .*truncated"):
            read(tmp_path / name)


def test_bytes_behind_a_jpeg_are_no_fault(tmp_path):
    RGB.save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes() + b"MotionPhoto" + bytes(5000) + b"x")
    assert read_header(tmp_path / "a.jpg").width == read_image(tmp_path / "a.jpg").width


def test_too_many_pixels_are_refused_with_the_way_to_allow_them(tmp_path, monkeypatch):
    Image.new("1", (200, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    for text, allowed in (("20000", True), ("19999", False), ("5", False)):
        monkeypatch.setenv(decode.LIMIT_VARIABLE, text)
        decode.pixel_limit.cache_clear()
        if allowed:
            assert read_image(tmp_path / "a.png").size == (200, 100)
            continue
        with pytest.raises(UnreadableImage, match="a.png has .* pixels.*set SSL_TRANSFER_MAX_PIXELS"):
            read_image(tmp_path / "a.png")
    monkeypatch.setenv(decode.LIMIT_VARIABLE, "many")
    decode.pixel_limit.cache_clear()
    with pytest.raises(UserError, match="SSL_TRANSFER_MAX_PIXELS is 'many', expected a number"):
        read_image(tmp_path / "a.png")
    monkeypatch.delenv(decode.LIMIT_VARIABLE)
    decode.pixel_limit.cache_clear()
    decode.pixel_limit()


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "folder.png", "missing.png", "\0.png", "\ud800.png"):
        with pytest.raises(UnreadableImage, match="is no file|does not exist|cannot be decoded"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("options", [{"quality": 90}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}])
@pytest.mark.parametrize("mode, size", [("RGB", (64, 48)), ("RGB", (37, 23)), ("L", (50, 31))])
def test_the_quick_decoder_gives_the_same_bits(tmp_path, options, mode, size):
    noise = np.random.default_rng(0).integers(0, 256, (size[1] // 4 + 1, size[0] // 4 + 1, 3), np.uint8)
    picture = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)
    picture.save(tmp_path / "a.jpg", **options)
    assert np.array_equal(decode.read_pixels(tmp_path / "a.jpg"), np.asarray(decode.read_image(tmp_path / "a.jpg")))


def test_the_quick_decoder_turns_and_refuses_what_the_other_does(tmp_path):
    RGB.save(tmp_path / "turned.jpg", exif=turned(6))
    assert decode.read_pixels(tmp_path / "turned.jpg").shape == (40, 30, 3)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "turned.jpg").read_bytes()[:-400])
    Image.new("CMYK", (8, 8)).save(tmp_path / "cmyk.jpg")
    Image.new("RGB", (8, 8), (9, 8, 7)).save(tmp_path / "png.jpg", "PNG")
    assert (
        decode.read_pixels(tmp_path / "cmyk.jpg").shape == decode.read_pixels(tmp_path / "png.jpg").shape == (8, 8, 3)
    )
    with pytest.raises(decode.UnreadableImage, match="cut.jpg"):
        decode.read_pixels(tmp_path / "cut.jpg")


@pytest.mark.parametrize("segment", ["exif", "xmp", "comment", "icc_profile"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_turn_is_seen_wherever_a_jpeg_may_say_it(tmp_path, segment, progressive):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><tiff:Orientation>6</tiff:Orientation></rdf:RDF></x:xmpmeta>'
    says = {"exif": turned(6), "xmp": xmp, "comment": b"none", "icc_profile": bytes(128)}
    RGB.save(tmp_path / "a.jpg", progressive=progressive, **{segment: says[segment]})
    pixels = decode.read_pixels(tmp_path / "a.jpg")
    np.testing.assert_array_equal(pixels, np.asarray(decode.read_image(tmp_path / "a.jpg")))
    assert pixels.shape == ((40, 30, 3) if segment in ("exif", "xmp") else (30, 40, 3))


def test_the_quick_decoder_refuses_pipes_and_too_many_pixels(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UnreadableImage, match="is no file"):
        decode.read_pixels(tmp_path / "pipe.jpg")
    RGB.save(tmp_path / "a.jpg")
    monkeypatch.setattr(decode, "pixel_limit", lambda: 40 * 30 - 1)
    with pytest.raises(UnreadableImage, match="a.jpg has 40 x 30 pixels"):
        decode.read_pixels(tmp_path / "a.jpg")
