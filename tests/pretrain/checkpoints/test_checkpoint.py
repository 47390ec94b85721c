import pickle
from pathlib import Path

import pytest
import torch

from pretrain import backbones
from pretrain.backbones import resnet
from pretrain.checkpoints import checkpoint
from runtime.command_line import UserError
from runtime.files import replacing, write_text


def test_backbone_round_trip(tmp_path):
    network = resnet.resnet()
    checkpoint.export_backbone(tmp_path / "backbone.pth", network, about={"method": "x", "epochs": 1})
    content = checkpoint.read_backbone(tmp_path / "backbone.pth")
    fresh = resnet.resnet()
    fresh.load_state_dict(content["state_dict"])
    assert content["input"]["order"] == "RGB" and content["method"] == "x"


class Bomb:
    def __reduce__(self):
        return (print, ("a downloaded file ran code",))


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path, capsys):
    path = tmp_path / "bomb.pth"
    path.write_bytes(pickle.dumps({"state_dict": Bomb()}))
    with pytest.raises(UserError):
        checkpoint.read(path)
    torch.save({"state_dict": Bomb()}, path)
    with pytest.raises(UserError):
        checkpoint.read(path)
    assert "ran code" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut off", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint_is_one_line(tmp_path, content):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(UserError):
        checkpoint.read_backbone(path)


def test_truncated_checkpoint_is_one_line(tmp_path):
    path = tmp_path / "file.pth"
    torch.save({"weights": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="truncated|damaged"):
        checkpoint.read(path)


def test_a_file_is_whole_or_not_there(tmp_path):
    write_text(tmp_path / "note", "old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "note") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "note").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["note"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        with pytest.raises(UserError, match="cannot write"):
            write_text(folder / "note", "text")


def test_stages_are_the_trunk_cut_in_five():
    network = resnet.resnet(zero_init_residual=False).eval()
    images = torch.randn(1, 3, 64, 64)
    outputs = resnet.stages(network, images)
    assert [tuple(o.shape[1:]) for o in outputs.values()] == [
        (64, 16, 16), (256, 16, 16), (512, 8, 8), (1024, 4, 4), (2048, 2, 2),
    ]  # fmt: skip
    assert torch.allclose(network.avgpool(outputs["res5"]).flatten(1), network(images), atol=1e-5)


def test_untrained_network_is_a_function_of_the_seed():
    one, same, other = (backbones.untrained(seed=seed).conv1.weight for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_contents_that_no_checksum_can_be_made_of_are_damaged(tmp_path):
    inside: dict = {}
    inside["itself"] = inside
    for odd in (torch.ones(1).expand(1 << 40), torch.empty(2, device="meta"), torch.eye(2).to_sparse(), inside):
        torch.save({"checksum": "0", "odd": odd}, tmp_path / "odd.pth")
        with pytest.raises(UserError, match="odd.pth"):
            checkpoint.read(tmp_path / "odd.pth")
