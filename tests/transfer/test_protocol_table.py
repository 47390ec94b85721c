"""The tables of docs/protocols.md say what the yaml files say."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_its_generator_would_write(module_at):
    generator = module_at(ROOT / "docs/protocol_table.py")
    page = generator.PAGE.read_text(encoding="utf-8")
    assert generator.filled(page) == page, "run python docs/protocol_table.py"
    line = next(line for line in page.splitlines() if line.startswith("| `voc-24k` | 1"))
    assert line == "| `voc-24k` | 1 | Faster R-CNN R50-C4 | ResNet, after res5 | 24000 | 18000, 22000 | 16 | 0.02 |"
