"""Which events reach which datasets, on real inotify."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neptune.edge.watches import Watches
from tests.edge.bench import eventually

pytestmark = pytest.mark.usefixtures("running")


@pytest.fixture
def woken() -> Counter[str]:
    return Counter()


@pytest.fixture
async def watches(woken: Counter[str]) -> Watches:
    return Watches(lambda uid: woken.update([uid]), lambda: woken.update(["all"]))


@pytest.fixture
async def running(watches: Watches) -> AsyncIterator[None]:
    task = asyncio.create_task(watches.run())
    yield
    task.cancel()
    await asyncio.wait({task})
    watches.close()


async def test_a_new_watch_wakes_since_it_has_not_seen_what_was_before(
    watches: Watches, woken: Counter[str], tmp_path: Path
) -> None:
    watches.watch("u1", str(tmp_path / "a"))
    assert woken == {"u1": 1}
    watches.watch("u1", str(tmp_path / "a"))
    assert woken == {"u1": 1}


async def test_an_event_wakes_the_datasets_of_that_file_only(
    watches: Watches, woken: Counter[str], tmp_path: Path
) -> None:
    for uid, name in (("u1", "a"), ("u2", "a"), ("u3", "b"), ("u4", "a")):
        watches.watch(uid, str(tmp_path / name))
    watches.watch("u4", None)
    woken.clear()
    (tmp_path / "a").touch()
    await eventually(lambda: woken.keys() == {"u1", "u2"})


async def test_a_folder_that_took_the_place_of_another_is_watched_instead(
    watches: Watches, woken: Counter[str], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    watches.watch("u1", str(folder / "a"))
    woken.clear()
    folder.rename(tmp_path / "away")
    await eventually(lambda: woken["u1"] > 0)
    folder.mkdir()
    watches.watch("u1", str(folder / "a"))
    await _quiet(woken)
    (folder / "a").touch()
    await eventually(lambda: woken["u1"] > 0)
    await _quiet(woken)
    (tmp_path / "away" / "a").touch()
    await asyncio.sleep(0.05)
    assert not woken


async def test_the_echo_of_a_watch_that_was_given_up_does_not_end_its_successor(
    woken: Counter[str], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = str(folder / "a")

    def look_at_once(uid: str) -> None:
        """Look more quickly than the kernel tells that the old watch is gone."""
        woken.update([uid])
        quick.watch(uid, path)

    quick = Watches(look_at_once, woken.clear)
    task = asyncio.create_task(quick.run())
    try:
        quick.watch("u1", path)
        folder.rename(tmp_path / "away")
        folder.mkdir()
        await asyncio.sleep(0.2)
        assert woken["u1"] < 10
        await _quiet(woken)
        (folder / "a").touch()
        await eventually(lambda: woken["u1"] > 0)
    finally:
        task.cancel()
        await asyncio.wait({task})
        quick.close()


async def test_a_folder_that_was_deleted_and_made_again_is_watched_again(
    watches: Watches, woken: Counter[str], tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    for _ in range(3):
        folder.mkdir()
        watches.watch("u1", str(folder / "a"))
        await _quiet(woken)
        folder.rmdir()
        await eventually(lambda: woken["u1"] > 0)


async def _quiet(woken: Counter[str]) -> None:
    """Wait until events that are under way have arrived, and forget them."""
    while woken:
        woken.clear()
        await asyncio.sleep(0.05)
