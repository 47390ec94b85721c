"""Predicted against true masks: the detectors' contact sheets, small enough to travel inside the page."""

import base64
import io
from pathlib import Path

from PIL import Image

from analysis.report_page.markup import Section, escape, paragraph
from analysis.report_page.runs_folder import RunsFolder
from runtime.command_line import UserError

WIDEST_PX = 1200
QUALITY = 72
MOST = 12
"""Sheets in one page, at about 60 kB each."""

MOST_PIXELS = 50_000_000
"""Of a sheet; a larger picture is none of ours."""


def section(folder: RunsFolder) -> Section:
    """One sheet per detector, ground truth above, prediction below."""
    paths = [file.path for row in folder.rows for file in folder.stage_files(row, "predictions.png")]
    figures = []
    for path in paths[:MOST]:
        try:
            source, width, height = inline(path)
        except UserError as error:
            folder.fault(path, str(error))
            continue
        name = escape(folder.name(path.parent))
        figures.append(
            f'<figure class="wide">\n<p class="chart-title">{name}</p>\n<div class="pan"><img src="{source}" '
            f'width="{width}" height="{height}" alt="Validation images of {name}: true masks above, '
            'predicted ones below"></div>\n</figure>\n'
        )
    body = "".join(figures) or paragraph("No detector has drawn its predictions yet (ROW/*/predictions.png).", "notice")
    if len(paths) > MOST:
        body += paragraph(f"{len(paths) - MOST} more sheets are in the runs folder.", "note")
    return Section(id="pictures", title="Predicted against true masks", body=body)


def inline(path: Path) -> tuple[str, int, int]:
    """A picture as a ``data:`` address, at most ``WIDEST_PX`` wide, with its size.

    Raises UserError if it is no PNG, or a larger one than a contact sheet can be.
    """
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise UserError(f"{path} has {picture.width} x {picture.height} pixels, more than a contact sheet")
            scale = min(1, WIDEST_PX / picture.width)
            size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
            small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    except UserError:
        raise
    except Exception as error:  # Pillow raises of every kind for damaged files
        raise UserError(f"{path}: {type(error).__name__}: {error}") from error
    stream = io.BytesIO()
    small.save(stream, format="WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}", *size
