"""A chart as files, drawn without a browser by vl-convert: SVG to scale, PNG to paste."""

from pathlib import Path

from analysis.figures.specs import Spec, with_colours
from analysis.figures.theme import PAPER
from runtime.files import replacing

PIXELS_PER_UNIT = 2.2


def save(spec: Spec, stem: Path) -> list[Path]:
    """Write STEM.svg and STEM.png, each whole or not at all."""
    import vl_convert

    plain = {**with_colours(spec), "config": PAPER}
    svg, png = stem.with_name(f"{stem.name}.svg"), stem.with_name(f"{stem.name}.png")
    with replacing(svg) as temporary:
        temporary.write_text(vl_convert.vegalite_to_svg(plain), encoding="utf-8")
    with replacing(png) as temporary:
        temporary.write_bytes(vl_convert.vegalite_to_png(plain, scale=PIXELS_PER_UNIT))
    return [svg, png]


def javascript() -> str:
    """The library that draws specifications in a page, as one script that defines ``vegaEmbed``."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", r"<\/script")
