"""What one file may make the process allocate."""

import pytest

from runtime.command_line import UserError
from runtime.memory import STATUS, growth_limited


@pytest.mark.skipif(not STATUS.exists(), reason="needs /proc, which only Linux has")
def test_more_than_the_file_can_need_is_refused_and_the_limit_goes_with_the_block(tmp_path):
    (tmp_path / "small.pth").write_bytes(b"x")
    with (
        pytest.raises(UserError, match="small.pth asks for far more memory than it holds"),
        growth_limited(tmp_path / "small.pth"),
    ):
        bytearray(1 << 30)
    assert len(bytearray(1 << 30)) == 1 << 30
