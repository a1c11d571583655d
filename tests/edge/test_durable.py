from __future__ import annotations

from pathlib import Path

import pytest

from neptune.edge.durable import whole


def test_the_name_appears_with_all_that_was_written_and_the_draft_goes(tmp_path: Path) -> None:
    path, draft = tmp_path / "a", tmp_path / ".a"
    path.write_bytes(b"before")
    with whole(path, draft) as file:
        file.write(b"after")
        file.flush()
        assert (path.read_bytes(), draft.read_bytes()) == (b"before", b"after")
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"after"


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_what_ends_the_writing_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    path, draft = tmp_path / "a", tmp_path / ".a"
    path.write_bytes(b"before")

    def begin() -> None:
        with whole(path, draft) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        begin()
    assert [each.name for each in tmp_path.iterdir()] == ["a"]
    assert path.read_bytes() == b"before"
