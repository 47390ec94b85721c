"""The one way in which the suite opens an image: pretraining, probes, features and Detectron2 see the same picture.

`read_image` decodes the formats of `FORMATS` only, recognised by their content. No other program is ever started.
The rules, which for ordinary 8-bit files give exactly what Pillow's ``convert("RGB")`` gives:

- A picture is turned as its EXIF orientation says, in every format.
- Grey of 16 bits keeps the upper 8, as Pillow does for 16-bit colour; 32-bit and float pixels are refused.
- Transparency is dropped: the colours below it are used.
- CMYK, palettes and grey become RGB; of an animation the first frame is used.
- A file that is cut off, or has more pixels than `pixel_limit`, is refused.
"""

import contextlib
import io
import math
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import simplejpeg
from PIL import ExifTags, Image

from runtime.command_line import UserError

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "PPM", "TIFF", "GIF")
"""Pillow's names of the formats that are decoded. PPM also stands for PGM and PBM; JPEG also for MPO."""

LIMIT_VARIABLE = "SSL_TRANSFER_MAX_PIXELS"

DEFAULT_LIMIT = 178_956_970
"""Pixels; Pillow's own limit."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> how to turn the picture; from 5 on, width and height change places."""

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
FRAMES = (0xC0, 0xC1, 0xC2)
"""Markers of frames that are baseline, extended and progressive."""
START_OF_SCAN = 0xDA
PLAIN_SEGMENTS = (0xC4, 0xDB, 0xDD, 0xE0, 0xEE, 0xFE)
"""Tables, JFIF's and Adobe's header, comments: what says nothing of an orientation or of further pictures."""
TAIL_BYTES = 4096
"""Zeros behind the end mark of a JPEG are passed over as far as this; a file with anything else there is decoded."""

PNG_TEXT = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
"""The chunks of a PNG that may hold an orientation."""


class UnreadableImage(UserError):
    """An image file that is missing, damaged, too large or of a kind that is not decoded."""


@dataclass(frozen=True)
class Header:
    """What can be known of a picture without decoding it."""

    width: int
    """Pixels, after the EXIF turn."""
    height: int
    sixteen_bit: bool
    """Whether it is grey of 16 bits, of which the upper 8 are used."""


@cache
def pixel_limit() -> int:
    """The largest number of pixels that is decoded. UserError if SSL_TRANSFER_MAX_PIXELS is no positive number."""
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_LIMIT))
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise UserError(f"{LIMIT_VARIABLE} is {text!r}, expected a number of pixels like {DEFAULT_LIMIT}")
    # Pillow would stop at a limit of its own. It warns between its limit and twice that, where this module refuses.
    Image.MAX_IMAGE_PIXELS = int(text)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)
    return int(text)


def read_image(path: str | Path, content: bytes | None = None) -> Image.Image:
    """The picture in the file ``path`` as an RGB image of 8 bits a channel, turned upright.

    ``content`` are the file's bytes where they are at hand; ``path`` is what errors call it then.

    Raises UnreadableImage, one line that names the file, if it cannot be read whole.
    """
    with _opened(path, content) as image:
        image.load()
        _check(path, image)
        turn = TURNS.get(_orientation(image))
        turned = image.transpose(turn) if turn is not None else image
        return (_upper_bits(turned) if _is_sixteen_bit(image) else turned).convert("RGB")


def read_pixels(path: str | Path, content: bytes | None = None) -> np.ndarray:
    """The picture that `read_image` gives, as an array (H, W, 3), uint8; of ordinary JPEG files sooner."""
    if content is None and os.path.isfile(path):  # opening a pipe would wait for ever
        with contextlib.suppress(OSError):
            content = Path(path).read_bytes()
    if content is not None and _is_quick(path, content):
        with contextlib.suppress(ValueError):  # what libjpeg-turbo finds wrong, Pillow names
            return simplejpeg.decode_jpeg(content, "RGB")
    return np.asarray(read_image(path, content))


def _is_quick(path: str | Path, content: bytes) -> bool:
    """Whether the bytes are a JPEG of 8-bit RGB or grey, upright and not too large, which libjpeg-turbo decodes.

    Pillow takes longer to open a file than its first segments take to walk, and is asked about those that may turn it.
    """
    if (sides := _plain_jpeg(content)) is not None:
        return math.prod(sides) <= pixel_limit()
    with _opened(path, content) as image:
        return image.format == "JPEG" and image.mode in ("RGB", "L") and _orientation(image) == 1


def _plain_jpeg(content: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG in grey or three colours without EXIF or XMP; None of all other bytes."""
    sides, place = None, 2
    if content[:2] != JPEG_START:
        return None
    while len(head := content[place : place + 10]) == 10 and head[0] == 0xFF:
        marker, length = head[1], int.from_bytes(head[2:4], "big")
        if marker == START_OF_SCAN:
            return sides
        if marker in FRAMES:
            sides = int.from_bytes(head[5:7], "big"), int.from_bytes(head[7:9], "big")
            if head[4] != 8 or head[9] not in (1, 3):
                return None
        elif marker not in PLAIN_SEGMENTS:
            return None
        place += 2 + length
    return None


def read_numbers(path: str | Path) -> np.ndarray:
    """The grey values of a PNG as they are stored, (height, width) of 8 or 16 bits; of a label image, its labels.

    Raises UnreadableImage for a file that cannot be read whole, and for a PNG in colour.
    """
    with _opened(path) as image:
        if image.format != "PNG" or image.mode not in ("L", "I", "I;16"):
            raise UnreadableImage(f"{path} is no grey PNG of 8 or 16 bits")
        return np.asarray(image)


def read_header(path: str | Path, *, decode: bool = False) -> Header:
    """The size of the picture that `read_image` gives, in general from the header alone.

    Args:
        decode: read every pixel too.

    Raises UnreadableImage for a file that `read_image` refuses, as far as its header and its last bytes show it.
    """
    with _opened(path) as image:
        _check(path, image)
        if decode or not _ends_whole(path, image):
            image.load()
        width, height = image.size
        if image.format != "TIFF" and 5 <= _orientation(image) <= 8:  # Pillow has turned a TIFF's size already
            width, height = height, width
        return Header(width, height, _is_sixteen_bit(image))


@contextlib.contextmanager
def _opened(path: str | Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """The image of a file, not yet decoded; whatever goes wrong inside the block is an UnreadableImage."""
    limit = pixel_limit()
    try:
        if content is None and not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
            raise UnreadableImage(f"{path} is no file; give an image")
        with Image.open(path if content is None else io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > limit:
                raise _too_large(path, f"{width} x {height} pixels")
            yield image
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise _too_large(path, "far more pixels than allowed") from error
    except FileNotFoundError as error:
        raise UnreadableImage(f"{path} does not exist") from error
    except Image.UnidentifiedImageError as error:
        raise UnreadableImage(f"{path} is no image of a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # damaged bytes make Pillow raise errors of almost any class
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"{path} cannot be decoded ({reason}); replace it by a whole copy") from error


def _too_large(path: str | Path, size: str) -> UnreadableImage:
    return UnreadableImage(
        f"{path} has {size}, the limit is {pixel_limit()}; make it smaller, or set {LIMIT_VARIABLE} to a higher number"
    )


def _is_sixteen_bit(image: Image.Image) -> bool:
    # Pillow gives the 16-bit grey of a PGM, and in older versions of a PNG, as 32-bit integers up to 65535.
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))


def _check(path: str | Path, image: Image.Image) -> None:
    if image.mode in ("F", "I") and not _is_sixteen_bit(image):
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise UnreadableImage(f"{path} has {kind} pixels without a known range; save it with 8 or 16 bits a pixel")


def _upper_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    """EXIF's number of the turn; 1, no turn, where the EXIF is missing or damaged, as Detectron2 does."""
    try:
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF raises errors of almost any class
        return 1


def _ends_whole(path: str | Path, image: Image.Image) -> bool:
    """Whether the file needs no decoding to know that it is whole and how it is turned."""
    if image.format not in ("JPEG", "MPO", "PNG"):
        return True
    with Path(path).open("rb") as file:
        if image.format == "PNG":
            return _png_is_plain(file)
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        return file.read().rstrip(b"\0").endswith(JPEG_END)


def _png_is_plain(file: BinaryIO) -> bool:
    """Whether a PNG reaches its last chunk, with no text behind the pixels, where an orientation may be."""
    file.seek(8)
    pixels = False
    while len(chunk := file.read(8)) == 8:
        name = chunk[4:]
        if name == b"IEND":
            return True
        if pixels and name in PNG_TEXT:
            return False
        pixels = pixels or name == b"IDAT"
        file.seek(int.from_bytes(chunk[:4], "big") + 4, os.SEEK_CUR)  # the data and its checksum
    return False
