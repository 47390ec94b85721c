"""Whether the image files of a COCO json are there whole, and of the size that it says."""

from pathlib import Path

from pretrain.data.decode import UnreadableImage, read_header
from runtime.command_line import printable
from transfer.datasets.faults import Fault
from transfer.datasets.thread_map import mapped


def faults_of(content: dict, folder: Path, *, decode: bool = False) -> list[Fault]:
    """The faults of the image files, which are read in parallel.

    Args:
        decode: read every pixel; else the header, and whether the file ends as its format does.
    """
    sizes = {}
    for image in content["images"]:
        if isinstance(image, dict) and isinstance(image.get("file_name"), str):
            sizes[image["file_name"]] = (image.get("width"), image.get("height"))
    read = mapped(
        lambda item: fault_of(folder / item[0], item[1], decode=decode), sizes.items(), f"check {folder.name}"
    )
    return [fault for fault in read if fault]


def fault_of(path: Path, size: tuple, *, decode: bool) -> Fault | None:
    """The fault of one image file, if any.

    Args:
        size: (width, height) as the json has it, of the picture after the turn that its EXIF asks for.
    """
    if not path.is_file():
        return None  # a fault of the json
    try:
        header = read_header(path, decode=decode)
    except UnreadableImage as error:
        return Fault("is an image that cannot be read", printable(path), str(error).removeprefix(f"{path} "))
    if (header.width, header.height) != size:
        detail = f"{header.width} x {header.height}, json {size[0]} x {size[1]}"
        return Fault("is an image of another size than the json says", printable(path), detail)
    if header.sixteen_bit:
        return Fault("is a 16-bit image, of which the upper 8 bits are used", printable(path), stops=False)
    return None
