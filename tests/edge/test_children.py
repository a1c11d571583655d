"""Real counting processes: what they count, how they die, and that none outlives its agent."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neptune.edge import children
from neptune.edge.children import PROCESSES, Children
from neptune.edge.counting import Checkpoint, FileCount, Target
from neptune.edge.problems import Problem, Reason
from tests.edge.bench import counting_processes, eventually
from tests.support.web import Web, serve


@pytest.fixture
async def pool() -> AsyncIterator[Children]:
    pool = Children()
    yield pool
    await pool.close()
    assert not counting_processes()


def nothing(_done: int, _total: int) -> None:
    """Take the progress and do nothing with it."""


@pytest.fixture
def endless(tmp_path: Path) -> Target:
    """Give a file that takes minutes."""
    file = tmp_path / "endless"
    file.touch()
    os.truncate(file, 2**42)
    return Target(str(file), "txt", None)


async def test_it_counts_as_a_thread_does_and_goes_on_where_that_ended(pool: Children, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"line\n" * 300_000)
    first = FileCount(Target(str(file), "txt", None)).step(60.0)
    assert isinstance(first, Checkpoint)
    assert await pool.count(Target(str(file), "txt", None), nothing) == first
    with file.open("ab") as stream:
        stream.write(b"more\n")
    again = await pool.count(Target(str(file), "txt", first), nothing)
    assert isinstance(again, Checkpoint)
    assert again.samples == 300_001


async def test_one_process_serves_file_after_file(pool: Children, tmp_path: Path) -> None:
    pids = set()
    for number in range(3):
        file = tmp_path / f"{number}.jsonl.gz"
        file.write_bytes(gzip.compress(b"{}\n" * number))
        found = await pool.count(Target(str(file), "jsonl", None), nothing)
        assert isinstance(found, Checkpoint)
        assert found.samples == number
        pids.update(counting_processes())
    assert len(pids) == 1


async def test_a_process_that_is_idle_ends(pool: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "_IDLE_SECONDS", 0.0)
    (tmp_path / "a").touch()
    await pool.count(Target(str(tmp_path / "a"), "txt", None), nothing)
    await eventually(lambda: not counting_processes())


async def test_what_the_child_finds_is_a_problem_as_elsewhere(pool: Children, tmp_path: Path) -> None:
    cut = tmp_path / "a.gz"
    cut.write_bytes(gzip.compress(b"line\n" * 1000)[:-5])
    found = await pool.count(Target(str(cut), "txt", None), nothing)
    gone = await pool.count(Target(str(tmp_path / "none"), "txt", None), nothing)
    assert isinstance(found, Problem)
    assert isinstance(gone, Problem)
    assert (found.reason, gone.reason) == (Reason.DAMAGED, Reason.NOT_FOUND)


async def test_a_process_that_is_killed_is_a_problem_and_the_next_file_has_another(
    pool: Children, endless: Target, tmp_path: Path
) -> None:
    heard: list[tuple[int, int]] = []
    task = asyncio.create_task(pool.count(endless, lambda *progress: heard.append(progress)))
    await eventually(lambda: len(heard) > 1)
    assert heard[-1][0] > heard[0][0]
    assert heard[-1][1] == 2**42
    (pid,) = counting_processes()
    os.kill(pid, signal.SIGKILL)
    found = await task
    assert isinstance(found, Problem)
    assert found.reason is Reason.COUNTING_FAILED
    assert "signal 9" in found.message
    (tmp_path / "a").write_bytes(b"1\n")
    assert isinstance(await pool.count(Target(str(tmp_path / "a"), "txt", None), nothing), Checkpoint)


async def test_a_process_that_says_nothing_is_given_up(
    pool: Children, endless: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_SILENCE_SECONDS", 2.0)
    heard: list[int] = []
    task = asyncio.create_task(pool.count(endless, lambda done, _total: heard.append(done)))
    await eventually(lambda: bool(heard))
    (pid,) = counting_processes()
    os.kill(pid, signal.SIGSTOP)
    found = await task
    assert isinstance(found, Problem)
    assert found.reason is Reason.COUNTING_FAILED


async def test_cancelling_ends_the_process_and_no_more_run_than_allowed(pool: Children, endless: Target) -> None:
    heard: list[int] = []
    tasks = [
        asyncio.create_task(pool.count(endless, lambda done, _total: heard.append(done))) for _ in range(PROCESSES + 2)
    ]
    await eventually(lambda: len(heard) > 3 * PROCESSES)
    assert len(counting_processes()) == PROCESSES
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await eventually(lambda: not counting_processes())


AGENT = """
    import asyncio, sys
    from neptune.edge.children import Children
    from neptune.edge.counting import Target
    asyncio.run(Children().count(Target(sys.argv[1], "txt", None), lambda done, total: print(done, flush=True)))
"""


async def test_credentials_are_neither_in_its_arguments_nor_in_its_environment(pool: Children) -> None:
    with serve(Web(b"1\n", authorization="Bearer a-secret")) as web:
        found = await pool.count(Target(web.url, "txt", None), nothing, {"token": "a-secret"})
    assert isinstance(found, Checkpoint)
    assert found.samples == 1
    (pid,) = counting_processes()
    assert not any(b"a-secret" in Path(f"/proc/{pid}/{part}").read_bytes() for part in ("cmdline", "environ"))


async def test_it_does_not_outlive_an_agent_that_is_killed(endless: Target) -> None:
    agent = subprocess.Popen(  # noqa: ASYNC220  # it takes a millisecond
        [sys.executable, "-c", textwrap.dedent(AGENT), endless.path], stdout=subprocess.PIPE
    )
    assert agent.stdout is not None
    with agent.stdout as said:
        said.readline()
        (pid,) = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        agent.kill()
        agent.wait()
    await eventually(lambda: not Path(f"/proc/{pid}/fd").exists() or not list(Path(f"/proc/{pid}/fd").iterdir()))


def test_it_is_nice_and_takes_little_memory(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"line\r\n" * 10_000_000)
    child = subprocess.Popen(
        [sys.executable, "-I", "-m", "neptune.edge.counting_child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin is not None
    assert child.stdout is not None
    with child.stdout as said, child.stdin as asked:
        asked.write(json.dumps([str(file), "txt", None, None]).encode() + b"\n")
        asked.flush()
        while b"checkpoint" not in (line := said.readline()):
            pass
        status = Path(f"/proc/{child.pid}/status").read_text()
        nice = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[16])
    child.wait()
    assert json.loads(line)["checkpoint"][3] == 10_000_000
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    assert peak < 60 * 1024
    assert nice == os.nice(0) + 10


PLUG_IN = """
    import sys
    from neptune.edge import counting_child, formats
    class Odd:
        def counter(self, state=()): return self
        samples = {samples}
        def feed(self, block): {feed}
        def state(self): return {state}
    class Point:
        load = lambda self: Odd()
    formats._plug_ins = lambda: dict(odd=Point())
    counting_child.main()
"""


def use_plug_in(monkeypatch: pytest.MonkeyPatch, *, samples: str = "7", feed: str = "pass", state: str = "()") -> None:
    """Give counting processes a format `odd`."""
    script = textwrap.dedent(PLUG_IN).format(samples=samples, feed=feed, state=state)
    monkeypatch.setattr(children, "_COMMAND", (sys.executable, "-c", script))


async def test_a_plug_in_may_print_and_read_what_it_likes(
    pool: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"1")
    use_plug_in(monkeypatch, feed="print('{}', flush=True); assert not sys.stdin.read()")
    for _ in range(2):
        found = await pool.count(Target(str(tmp_path / "a"), "odd", None), nothing)
        assert isinstance(found, Checkpoint)
        assert found.samples == 7


@pytest.mark.parametrize(
    "rules",
    [
        {"samples": "'many'"},
        {"samples": "1.5"},
        {"samples": "None"},
        {"samples": "-1"},
        {"samples": "2**63"},
        {"state": "('text',)"},
        {"state": "(10**1000,) * 3000"},
        {"feed": "raise RuntimeError"},
        {"feed": "sys.exit()"},
    ],
)
async def test_a_plug_in_that_breaks_its_word_is_a_problem_of_its_dataset(
    pool: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: dict[str, str]
) -> None:
    (tmp_path / "a").write_bytes(b"1")
    use_plug_in(monkeypatch, **rules)
    found = await pool.count(Target(str(tmp_path / "a"), "odd", None), nothing)
    assert isinstance(found, Problem)
    assert found.reason is Reason.COUNTING_FAILED
