"""The theme of charts: fonts, grid and text colours, by the page's variables or as they are on paper."""

FONT = "system-ui, sans-serif"


def config(*, text: str, grid: str, font: str = FONT) -> dict:
    """A Vega-Lite config of quiet axes on a transparent ground."""
    return {
        "font": font,
        "background": "transparent",
        "view": {"stroke": grid},
        "axis": {
            "gridColor": grid,
            "domainColor": grid,
            "tickColor": grid,
            "labelColor": text,
            "titleColor": text,
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "tickCount": 5,
        },
        "legend": {"labelColor": text, "titleColor": text, "labelFontSize": 10},
        "title": {"color": text, "fontSize": 11, "fontWeight": "normal"},
    }


PAGE = config(text="var(--quiet)", grid="var(--line)")
"""Follows the page's colours, dark or light."""

PAPER = {
    **config(text="#444444", grid="#d9d9d9", font="DejaVu Sans, Liberation Sans, sans-serif"),
    "background": "white",
}
