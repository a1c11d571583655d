"""The monitor on real files: events wake it, the poll finds what no event told, and a large file blocks nobody."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import mmap
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from asyncinotify._ffi import libc
from structlog.testing import capture_logs

from neptune.clock import SystemClock
from neptune.edge.monitor import Monitor
from neptune.edge.reader import DiskReader
from neptune.edge.schedule import News
from neptune.protocol.messages import StatusReport
from tests.edge.bench import counting_processes, dataset, eventually
from tests.support.files import settled
from tests.support.missing import needs_root
from tests.support.mounts import hung_mount

NEVER = 3600.0


class Heard:
    """What a monitor has told."""

    def __init__(self) -> None:
        self.news: list[News] = []

    @property
    def reports(self) -> list[StatusReport]:
        return [news.report for news in self.news if news.report is not None]

    def samples(self, uid: str = "u1") -> int | None:
        return next((r.number_of_samples for r in reversed(self.reports) if r.uid == uid), None)

    def message(self, uid: str = "u1") -> str:
        return next((r.conditions[0].message for r in reversed(self.reports) if r.uid == uid), "")

    def reason(self, uid: str = "u1") -> str:
        return next((r.conditions[0].reason for r in reversed(self.reports) if r.uid == uid), "")


@asynccontextmanager
async def monitoring(
    root: Path, *, poll_seconds: float = NEVER, interval_seconds: float = 0.0
) -> AsyncIterator[tuple[Monitor, Heard]]:
    heard = Heard()
    monitor = Monitor(
        reader=DiskReader([str(root)]),
        poll_seconds=poll_seconds,
        interval_seconds=interval_seconds,
        clock=SystemClock(),
        tell=heard.news.append,
    )
    task = asyncio.create_task(monitor.run())
    try:
        yield monitor, heard
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled(), task.exception()


async def test_events_alone_bring_every_change(tmp_path: Path) -> None:
    file, other = tmp_path / "a.txt", tmp_path / "b.txt"
    async with monitoring(tmp_path) as (monitor, heard):
        monitor.put(dataset(str(file)))
        await eventually(lambda: heard.reason() == "NotFound")
        file.write_bytes(b"1\n")
        await eventually(lambda: heard.samples() == 1)
        with file.open("ab") as stream:
            stream.write(b"2\n3\n")
        await eventually(lambda: heard.samples() == 3)
        other.write_bytes(b"\n")
        other.replace(file)
        await eventually(lambda: heard.samples() == 0)
        file.unlink()
        await eventually(lambda: heard.reason() == "NotFound")


async def test_a_permission_that_is_taken_and_given_back_is_seen(tmp_path: Path) -> None:
    needs_root()
    file = tmp_path / "a.txt"
    file.write_bytes(b"1\n")
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    file.chmod(0o600)
    os.seteuid(65534)
    try:
        async with monitoring(tmp_path) as (monitor, heard):
            monitor.put(dataset(str(file)))
            await eventually(lambda: heard.reason() == "PermissionDenied")
            os.seteuid(0)
            file.chmod(0o644)
            os.seteuid(65534)
            await eventually(lambda: heard.samples() == 1)
    finally:
        os.seteuid(0)


async def test_a_small_file_that_could_not_be_opened_is_tried_again_without_any_change(tmp_path: Path) -> None:
    file = settled(tmp_path / "a.txt", b"1\n")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with monitoring(tmp_path) as (monitor, heard):
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            monitor.put(dataset(str(file)))
            await eventually(lambda: heard.reason() == "ReadFailed")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert "Too many open files" in heard.message()
        await eventually(lambda: heard.samples() == 1)


async def test_a_folder_that_comes_late_is_found_by_the_poll_and_watched_then(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    async with monitoring(tmp_path, poll_seconds=0.05) as (monitor, heard):
        monitor.put(dataset(str(folder / "a.txt")))
        await eventually(lambda: heard.reason() == "NotFound")
        folder.mkdir()
        (folder / "a.txt").write_bytes(b"1\n2\n")
        await eventually(lambda: heard.samples() == 2)
        folder.rename(tmp_path / "away")
        await eventually(lambda: heard.reason() == "NotFound")
        (tmp_path / "away").rename(folder)
        await eventually(lambda: heard.reason() == "Counted")


@contextmanager
def no_instance_left() -> Iterator[None]:
    """Take all inotify instances that this user may have."""
    number = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft + number, hard), hard))
    taken = []
    try:
        with pytest.raises(OSError, match=r"[Tt]oo many"):  # noqa: PT012
            while True:
                taken.append(libc.inotify_init1(0))
        yield
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_watch_left() -> Iterator[None]:
    def exhausted(*_args: object) -> int:
        raise OSError(errno.ENOSPC, "used up")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(libc, "inotify_add_watch", exhausted)
        yield


@pytest.mark.parametrize("exhausted", [no_instance_left, no_watch_left])
async def test_without_inotify_the_poll_does_it_all(
    tmp_path: Path, exhausted: Callable[[], AbstractContextManager[None]]
) -> None:
    file = tmp_path / "a.txt"
    with capture_logs() as logs, exhausted():
        async with monitoring(tmp_path, poll_seconds=0.02) as (monitor, heard):
            monitor.put(dataset(str(file)))
            monitor.put(dataset(str(tmp_path / "b.txt"), uid="u2"))
            await eventually(lambda: heard.reason() == "NotFound")
            file.write_bytes(b"1\n")
            await eventually(lambda: heard.samples() == 1)
    assert [line["event"] for line in logs] == ["inotify is exhausted"]


async def test_two_datasets_of_one_file_are_both_told(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"1\n")
    async with monitoring(tmp_path) as (monitor, heard):
        monitor.put(dataset(str(file)))
        monitor.put(dataset(f"file://{file}", uid="u2"))
        await eventually(lambda: heard.samples("u1") == heard.samples("u2") == 1)
        monitor.forget("u1")
        file.write_bytes(b"1\n2\n")
        await eventually(lambda: heard.samples("u2") == 2)
        assert heard.samples("u1") == 1


async def test_a_large_file_leaves_the_loop_free_and_others_their_turn(tmp_path: Path) -> None:
    large, small = tmp_path / "large.txt", tmp_path / "small.txt"
    large.write_bytes(b"line\n" * 8_000_000)
    small.write_bytes(b"1\n")
    async with monitoring(tmp_path) as (monitor, heard):
        monitor.put(dataset(str(large)))
        monitor.put(dataset(str(small), uid="u2"))
        loop, slowest = asyncio.get_running_loop(), 0.0
        while heard.samples("u1") != 8_000_000:
            before = loop.time()
            await asyncio.sleep(0.001)
            slowest = max(slowest, loop.time() - before)
        assert heard.reports[0].uid == "u2"
        assert slowest < 0.3


async def test_a_spec_that_changes_ends_the_count_of_the_one_before(tmp_path: Path) -> None:
    large, small = tmp_path / "large.txt", tmp_path / "small.txt"
    os.truncate(_touched(large), 2**36)
    small.write_bytes(b"1\n")
    async with monitoring(tmp_path) as (monitor, heard):
        monitor.put(dataset(str(large)))
        await eventually(lambda: heard.reason() == "Counting")
        monitor.put(dataset(str(small), generation=2))
        await eventually(lambda: heard.samples() == 1)
        await eventually(lambda: not _readers(large))


async def test_stopping_in_the_middle_of_a_count_lets_go_of_the_file(tmp_path: Path) -> None:
    large = tmp_path / "large.txt"
    os.truncate(_touched(large), 2**36)
    async with monitoring(tmp_path) as (monitor, _heard):
        monitor.put(dataset(str(large)))
        await eventually(lambda: bool(_readers(large)))
    assert not _readers(large)


async def test_a_file_that_is_written_all_the_time_ends_with_the_right_number(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    async with monitoring(tmp_path, interval_seconds=0.05) as (monitor, heard):
        monitor.put(dataset(str(file)))
        for number in range(100):
            with file.open("ab") as stream:
                stream.write(b"%d\r\n" % number)
            await asyncio.sleep(0.002)
        await eventually(lambda: heard.samples() == 100)
        numbers = [report.number_of_samples for report in heard.reports if report.number_of_samples is not None]
        assert numbers == sorted(numbers)
        assert len(numbers) < 20


def _touched(path: Path) -> Path:
    path.touch()
    return path


def _readers(path: Path) -> list[int]:
    """Return the processes of this test that have the file open."""
    return [pid for pid in (os.getpid(), *counting_processes()) if path in _opened(pid)]


def _opened(pid: int) -> set[Path]:
    found = set()
    with contextlib.suppress(OSError):  # it ends meanwhile
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.add(fd.readlink())
    return found


async def test_an_error_that_nobody_thought_of_is_the_problem_of_its_own_dataset(tmp_path: Path) -> None:
    async with monitoring(tmp_path / "nul\0") as (monitor, heard):
        monitor.put(dataset(str(tmp_path / "a.txt")))
        await eventually(lambda: heard.reason() == "ReadFailed")
        assert "ValueError" in heard.reports[-1].conditions[0].message


async def test_a_mount_that_hangs_holds_up_nobody_else_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.edge.reader.PATIENCE_SECONDS", 0.3)
    hung, good = tmp_path / "hung", tmp_path / "good"
    hung.mkdir()
    good.mkdir()
    (good / "a").write_bytes(b"1\n")
    (tmp_path / "link").symlink_to(good)  # not plain: the poll alone tells
    async with monitoring(tmp_path, poll_seconds=0.05) as (monitor, heard):
        with hung_mount(hung):
            for number in range(20):
                monitor.put(dataset(f"{hung}/{number}", uid=f"h{number}"))
            monitor.put(dataset(f"{tmp_path}/link/a", uid="good"))
            await eventually(lambda: heard.samples("good") == 1)
            await eventually(lambda: {heard.reason(f"h{number}") for number in range(20)} == {"ReadFailed"})
            assert "does not answer" in heard.message("h7")
            (good / "a").write_bytes(b"1\n2\n")
            await eventually(lambda: heard.samples("good") == 2)
        (hung / "7").write_bytes(b"1\n")
        await eventually(lambda: heard.samples("h7") == 1)


async def test_a_large_file_tells_its_progress_and_a_killed_count_is_tried_again(tmp_path: Path) -> None:
    large = _touched(tmp_path / "large.txt")
    os.truncate(large, 2**42)
    async with monitoring(tmp_path) as (monitor, heard):
        monitor.put(dataset(str(large)))
        await eventually(lambda: heard.message().startswith("counting: 0 % of"))
        (pid,) = counting_processes()
        os.truncate(large, 100)
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: heard.reason() == "CountingFailed" or heard.samples() == 1)
        await eventually(lambda: heard.samples() == 1)


async def test_many_datasets_in_one_folder_are_each_told_of_their_own_file(tmp_path: Path) -> None:
    async with monitoring(tmp_path) as (monitor, heard):
        for number in range(500):
            monitor.put(dataset(f"{tmp_path}/{number}", uid=f"u{number}"))
        await eventually(lambda: heard.reason("u499") == "NotFound")
        for number in range(500):
            (tmp_path / str(number)).write_bytes(b"x\n" * number)
        await eventually(lambda: all(heard.samples(f"u{number}") == number for number in range(500)))


async def test_files_of_a_folder_come_and_go_by_events_alone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    async with monitoring(tmp_path) as (monitor, heard):
        monitor.put(dataset(f"{folder}/"))
        monitor.put(dataset(f"{tmp_path}/folder/*.txt", uid="u2"))
        await eventually(lambda: heard.reason() == "NotFound")
        folder.mkdir()
        await eventually(lambda: heard.samples() == 0)
        (folder / "a.txt").write_bytes(b"1\n")
        await eventually(lambda: heard.samples() == 1)
        (folder / "b").write_bytes(b"1\n2\n")
        await eventually(lambda: heard.samples() == 3)
        (folder / "a.txt").unlink()
        await eventually(lambda: heard.samples() == 2)
        folder.rename(tmp_path / "away")
        await eventually(lambda: heard.reason() == "NotFound")


async def test_packed_files_and_plug_ins_are_counted_in_a_process(tmp_path: Path) -> None:
    file = tmp_path / "a.csv.gz"
    file.write_bytes(gzip.compress(b'h\n"1\n1"\n2\n'))
    async with monitoring(tmp_path) as (monitor, heard):
        monitor.put(dataset(str(file), format_="CSV"))
        await eventually(lambda: heard.samples() == 2)
        with file.open("ab") as stream:
            stream.write(gzip.compress(b"3\n"))
        await eventually(lambda: heard.samples() == 3)
        file.write_bytes(gzip.compress(b"h\n1\n")[:-4])
        await eventually(lambda: heard.reason() == "Damaged")
        file.write_bytes(gzip.compress(b"h\n1\n"))
        await eventually(lambda: heard.samples() == 1)


async def test_what_makes_no_event_is_found_by_the_poll(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"1\n2\n")
    await asyncio.sleep(0.05)  # a file that has just been written is looked at once more
    with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as memory:
        async with monitoring(tmp_path, poll_seconds=0.05) as (monitor, heard):
            monitor.put(dataset(str(file)))
            await eventually(lambda: heard.samples() == 2)
            await asyncio.sleep(0.2)  # a watch that is new has the file looked at once more
            memory[0] = ord("\n")
            memory.flush()
            await eventually(lambda: heard.samples() == 1)
