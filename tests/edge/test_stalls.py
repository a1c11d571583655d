"""Going over paths of which some hang: on a real mount whose server never answers."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neptune.edge import stalls
from neptune.edge.stalls import Stalls
from neptune.edge.threads import StalledError, Threads
from tests.edge.bench import eventually
from tests.support.mounts import hung_mount


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    threads = Threads(patience_seconds=0.2)
    yield threads
    threads.close()
    await eventually(lambda: not any(thread.name == "data" for thread in threading.enumerate()))


def exists(path: str) -> bool:
    return Path(path).exists()


async def test_what_hangs_is_told_once_and_the_rest_is_found(threads: Threads, tmp_path: Path) -> None:
    hung, good = tmp_path / "hung", tmp_path / "good"
    hung.mkdir()
    good.touch()
    answers: list[None] = []
    finder = Stalls(threads, lambda: answers.append(None))
    paths = [str(path) for path in (good, hung / "a", tmp_path / "none", hung / "b", good)]
    items = [(path, path) for path in paths]
    with hung_mount(hung):
        for _ in range(2):
            found = await finder.over(items, exists)
            assert sorted(found, key=str) == sorted(
                [(paths[0], True), (paths[1], None), (paths[2], False), (paths[3], None), (paths[4], True)], key=str
            )
        assert sum(thread.name == "data" for thread in threading.enumerate()) <= 2
        assert finder.hangs(paths[1])
        assert not finder.hangs(f"{hung}er")
    await eventually(lambda: bool(answers))
    assert not finder.hangs(paths[1])


async def test_a_long_list_is_gone_over_in_slices_that_each_come_in_time(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stalls, "_SLICE_SECONDS", 0.0)
    found = await Stalls(threads, lambda: None).over([("/", number) for number in range(100)], str)
    assert found == [(number, str(number)) for number in range(100)]


async def test_a_call_that_stalls_raises_and_is_over_later(threads: Threads) -> None:
    reader, writer = os.pipe()
    with pytest.raises(StalledError) as stall:
        await threads.call(os.read, reader, 1)
    os.write(writer, b"x")
    assert stall.value.ended.result(5) == b"x"
    os.close(reader)
    os.close(writer)


async def test_what_a_call_raises_is_raised(threads: Threads) -> None:
    with pytest.raises(FileNotFoundError):
        await threads.call(os.stat, "/no/such/file")
