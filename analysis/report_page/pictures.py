"""Predicted against true masks: the detectors' contact sheets, small enough to travel inside the page."""

import base64
import io

from PIL import Image

from analysis.report_page.markup import Section, escape, paragraph
from analysis.report_page.runs_folder import RunsFolder

WIDEST_PX = 1200
QUALITY = 72
MOST = 40
"""Sheets in one page, at about 60 kB each."""


def pictures(folder: RunsFolder) -> Section:
    """One sheet per detector, ground truth above, prediction below."""
    paths = [path for row in folder.rows for path in sorted(row.glob("*/predictions.png"))]
    figures = []
    for path in paths[:MOST]:
        try:
            source, width, height = inline(path)
        except OSError as error:
            folder.faults.append(f"{folder.name(path)}: {error}")
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


def inline(path) -> tuple[str, int, int]:
    """A picture as a ``data:`` address, at most ``WIDEST_PX`` wide, with its size. Raises OSError if it is none."""
    with Image.open(path) as picture:
        scale = min(1, WIDEST_PX / picture.width)
        size = (round(picture.width * scale), round(picture.height * scale))
        small = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    small.save(stream, format="WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}", *size
