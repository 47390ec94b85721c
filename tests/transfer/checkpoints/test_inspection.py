"""``--inspect`` says what a file is, what would be taken, left and refused, and writes nothing."""

from pathlib import Path

import pytest
import torch

from runtime.command_line import UserError
from transfer import convert
from transfer.checkpoints import inspection

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "checkpoints.md"


def test_a_training_checkpoint_is_described(checkpoint_pth, capsys):
    before = sorted(checkpoint_pth.parent.iterdir())
    convert.main(["--inspect", str(checkpoint_pth)])
    told = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines()[1:] if "dropped" not in line)
    assert told["format"] == "this suite's training checkpoint"
    assert told["method"] == "matrix_ssl, demo, 8 epochs"
    assert told["candidates"] == "online (taken), teacher (--encoder teacher)"
    assert told["trunk"] == "265 of 265 tensors"
    assert told["depth"] == "ResNet-50: [3, 4, 6, 3] bottleneck blocks per stage"
    assert told["stem"] == "ImageNet stem, conv1.weight [64, 3, 7, 7]" and told["width"] == "x1"
    assert told["input"].startswith(
        "RGB, mean [123.675, 116.28, 103.53], std [58.395, 57.12, 57.375], stride in the 3x3"
    )
    assert told["verdict"] == "converts; its batch norms hold statistics"
    assert sorted(checkpoint_pth.parent.iterdir()) == before


def test_each_rule_that_drops_says_how_much_of_what(checkpoint_pth):
    lines = [line for line in inspection.report(checkpoint_pth).splitlines() if line.startswith("dropped")]
    assert lines[0] == (
        "dropped     318: teacher: another trunk than the one taken; --encoder teacher chooses it (teacher.backbone.*)"
    )
    assert lines[1].startswith("dropped     53: BatchNorm's step counter")
    assert lines[2].endswith("used only in pretraining (predictor.*, projector.*, queue)")


def test_what_would_be_refused_is_still_described(tmp_path, trunk):
    torch.save({name: tensor for name, tensor in trunk.items() if "layer4" not in name}, tmp_path / "cut.pth")
    told = inspection.report(tmp_path / "cut.pth")
    assert "format      bare backbone" in told and "trunk       215 of 265 tensors" in told
    assert told.splitlines()[-1].startswith("refused") and "lacks all of layer4" in told

    torch.save({"model": {"blocks.0.weight": torch.zeros(1), "blocks.1.weight": torch.zeros(1)}}, tmp_path / "vit.pth")
    lines = inspection.report(tmp_path / "vit.pth").splitlines()
    assert lines[1] == "tensors     model: blocks (2)"
    assert lines[2].startswith("refused") and "--formats lists those known" in lines[2]


def test_a_destination_or_inspect_but_not_both(tmp_path):
    for arguments in ([], ["--inspect"], ["a.pth"], ["a.pth", "b.pkl", "--inspect"]):
        with pytest.raises(UserError, match="give SRC and a destination, or --inspect SRC"):
            convert.main(arguments)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(UserError, match="is not a checkpoint"):
        convert.main(["--inspect", str(tmp_path / "text.pth")])


def test_the_documentation_has_the_table_that_the_code_prints(capsys):
    convert.main(["--formats"])
    table = capsys.readouterr().out
    assert table in DOCUMENT.read_text(), f"put this table into {DOCUMENT.name}:\n{table}"
