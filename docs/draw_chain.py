"""Draws docs/chain.svg, the README's picture: what each stage reads and writes."""

from pathlib import Path

WIDTH, HEIGHT, TOP, BOX, GAP = 1000, 190, 40, 150, 62
STAGES = [
    ("images", "ImageNet layout,", "CIFAR, drawn scenes", "#e8e8e8"),
    ("pretrain/", "Matrix-SSL, ResNet-50", "no labels", "#cfe3f5"),
    ("transfer/ convert", "265 of 265 tensors,", "stage-by-stage parity", "#d9ead3"),
    ("transfer/ train", "Mask R-CNN under", "a named protocol", "#d9ead3"),
    ("analysis/", "tables: mean ± std,", "n, protocol, source", "#f6e2c6"),
]
FILES = ["views", "backbone.pth", "backbone.pkl", "result.json"]


def text(x: float, y: float, words: str, *, size: int = 13, weight: str = "normal", anchor: str = "middle") -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}">{words}</text>'


def main() -> None:
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"',
        'font-family="Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#444"/></marker></defs>',
    ]
    for i, (name, first, second, colour) in enumerate(STAGES):
        x = 5 + i * (BOX + GAP - 2)
        middle = x + BOX / 2
        parts.append(f'<rect x="{x}" y="{TOP}" width="{BOX}" height="80" rx="8" fill="{colour}" stroke="#444"/>')
        parts.append(text(middle, TOP + 27, name, size=15, weight="bold"))
        parts += [text(middle, TOP + 49, first, size=12), text(middle, TOP + 66, second, size=12)]
        if i < len(FILES):
            left, right = x + BOX, x + BOX + GAP - 4
            parts.append(
                f'<path d="M{left},{TOP + 40} H{right}" stroke="#444" stroke-width="1.5" marker-end="url(#tip)"/>'
            )
            parts.append(text((left + right) / 2, TOP - 12, FILES[i], size=12))
    parts.append(f'<path d="M5,{TOP + 100} H{WIDTH - 5}" stroke="#999" stroke-dasharray="4 4"/>')
    line = "slurm/run_all.py: one graph of jobs over methods, seeds and stages, on this machine or on a SLURM cluster"
    parts += [text(WIDTH / 2, TOP + 124, line, size=14), "</svg>"]
    Path(__file__).with_name("chain.svg").write_text("\n".join(parts) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
