"""A copy of a pack on a node's disk is made once, is whole or taken up, and is never that of another pack."""

import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pretrain.data import datasets, packing, shards, staging
from runtime.command_line import UserError


def pack_of(folder: Path, count: int) -> Path:
    for number in range(count):
        path = folder / f"tree/{number % 2}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(path)
    packing.pack(folder / "tree", folder / "packed", shard_bytes=5000)
    return folder / "packed"


@pytest.fixture
def packed(tmp_path) -> Path:
    return pack_of(tmp_path, 6)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_copy_is_read_in_the_place_of_the_pack_and_used_again(packed, tmp_path, monkeypatch):
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    source = datasets.ImageFolder(packed, stage="$NODE_DISK/me")
    (copy,) = (tmp_path / "disk/me").iterdir()
    assert source.shards.root == copy
    assert files(copy) == {name: content for name, content in files(packed).items() if name != "pack.json"}
    assert source.identity == datasets.ImageFolder(tmp_path / "tree").identity
    stamps = {path: path.stat().st_mtime_ns for path in copy.iterdir()}
    staging.staged(packed, "$NODE_DISK/me")
    assert stamps == {path: path.stat().st_mtime_ns for path in copy.iterdir()}


def test_killed_at_any_event_the_next_one_takes_it_up_and_nothing_is_left(packed, tmp_path, kills):
    assert kills.survives(lambda out: bool(staging.staged(packed, str(out))) - 1, tmp_path, tries=12) == 12


def test_what_is_not_whole_is_copied_again_and_another_pack_has_a_folder_of_its_own(packed, tmp_path):
    copy = staging.staged(packed, str(tmp_path / "disk"))
    whole = files(copy)
    (copy / "shard-00001.tar").write_bytes(b"cut off")
    (copy / ".shard-00000.tar.elsewhere-1.tmp").touch()
    assert staging.staged(packed, str(tmp_path / "disk")) == copy and files(copy) == whole
    (copy / "images.safetensors").write_bytes((packed / "images.safetensors").read_bytes()[:-1])
    assert staging.staged(packed, str(tmp_path / "disk")) == copy and files(copy) == whole
    other = pack_of(tmp_path / "other", 5)
    source = datasets.ImageFolder(other, stage=str(tmp_path / "disk"))
    assert len(source) == 5 and source.shards.root != copy and files(copy) == whole


def _stage_twice(packed: str, stage: str):
    import time

    from pretrain.data import datasets, staging
    from runtime.command_line import UserError

    real, copies = staging._copy, []

    def copy(*arguments):
        copies.append(arguments)
        time.sleep(0.5)  # the other one comes meanwhile
        real(*arguments)

    staging._copy = copy
    try:
        source = datasets.ImageFolder(packed, stage=stage)
        return len(copies), str(source.shards.root), [source.shards.read(i) for i in range(len(source))]
    except UserError as fault:
        return str(fault)
    finally:
        staging._copy = real


def test_two_processes_of_a_node_make_one_copy_and_hear_of_each_others_faults(packed, tmp_path, ranks):
    (copies, folder, images), (others, same, again) = ranks(2, _stage_twice, str(packed), str(tmp_path / "disk"))
    assert copies + others == 1 and folder == same and Path(folder).parent == tmp_path / "disk"
    assert images == again and len(images) == 6
    shard = packed / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    one, two = ranks(2, _stage_twice, str(packed), str(tmp_path / "empty"))
    assert one == two == f"{shard} is damaged (another checksum); pretrain/pack.py --check {packed} says where"


def test_what_cannot_be_staged_is_one_line(packed, tmp_path, monkeypatch):
    here = socket.gethostname()
    with pytest.raises(
        UserError, match="data.stage copies packed images, .*tree holds files; pack it: pretrain/pack.py"
    ):
        datasets.ImageFolder(tmp_path / "tree", stage=str(tmp_path / "disk"))
    with pytest.raises(UserError, match=rf"data.stage=\$NOWHERE/x names a variable that is not set on {here}"):
        staging.staged(packed, "$NOWHERE/x")
    with pytest.raises(UserError, match=f"pack.json/x cannot be made on {here}: Not a directory"):
        staging.staged(packed, str(packed / "pack.json/x"))
    other = staging.staged(pack_of(tmp_path / "other", 5), str(tmp_path / "disk"))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=16 << 20))
    with pytest.raises(UserError, match=f"disk on {here} has 16 MiB free, .* needs 1 more; .*: {other.name}$"):
        staging.staged(packed, str(tmp_path / "disk"))
    staging.staged(tmp_path / "other/packed", str(tmp_path / "disk"))  # is there: needs none


def test_damage_of_a_copy_is_named_and_removing_the_shard_repairs_it(packed, tmp_path):
    source = datasets.ImageFolder(packed, stage=str(tmp_path / "disk"))
    shard = source.shards.root / "shard-00000.tar"
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.write_bytes(content)
    with pytest.raises(shards.DamagedShard, match=f"{shard}: 0/0.png is damaged .*; remove it"):
        source.pixels(0)
    shard.unlink()
    assert datasets.ImageFolder(packed, stage=str(tmp_path / "disk")).pixels(0).shape == (24, 24, 3)
