"""What one process does for all: the others find its files, or fail with it instead of waiting."""

import pytest

from runtime.command_line import UserError
from transfer.detection.launch import main_first


def _convert(folder: str, fault: str) -> str:
    from pathlib import Path

    from runtime import distributed
    from runtime.command_line import UserError
    from transfer.detection.launch import main_first

    def work() -> str:
        if fault and distributed.is_main():
            raise UserError(fault)
        path = Path(folder) / "made"
        made = path.exists()
        path.write_text("here")
        return f"rank {distributed.rank()} {'finds it' if made else 'makes it'}"

    try:
        return main_first(work)
    except UserError as error:
        return f"rank {distributed.rank()}: {error}"


def test_the_main_process_works_first(ranks, tmp_path):
    assert ranks(2, _convert, str(tmp_path), "") == ["rank 0 makes it", "rank 1 finds it"]


def test_its_error_is_everybodys(ranks, tmp_path):
    assert ranks(2, _convert, str(tmp_path), "no such tree") == ["rank 0: no such tree", "rank 1: no such tree"]


def test_alone_it_is_a_plain_call():
    assert main_first(lambda: 3) == 3
    with pytest.raises(UserError, match="no"):
        main_first(lambda: (_ for _ in ()).throw(UserError("no")))
