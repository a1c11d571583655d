"""The command that a node runs for its tasks: real processes, real signals."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from neptune.edge.agent import AgentSettings
from neptune.edge.tasks import command
from neptune.edge.tasks.command import CommandRunner, TaskCommand
from neptune.edge.tasks.command_child import MAX_OUTPUT_BYTES
from neptune.errors import SettingsError
from neptune.transport.broker import BrokerCore
from tests.edge.bench import NODE, Cloud, eventually, memory, running_agent, settings
from tests.edge.tasks.bench import folder, lone_task, model, part, task, work, works

REPORT = """
report() {
    id="$(date +%s%N)-$$-$1"
    echo "{\\"state\\": \\"$1\\", \\"message\\": \\"$2\\"}" > "$NEPTUNE_TASK/reports/.tmp-$id"
    mv "$NEPTUNE_TASK/reports/.tmp-$id" "$NEPTUNE_TASK/reports/$id.json"
}
"""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(command, "GRACE_SECONDS", 0.5)


def shell(tmp_path: Path, script: str, **limits: int) -> AgentSettings:
    """Return settings of an agent that runs this script, which can `report STATE MESSAGE`, for each task."""
    return settings(tmp_path, task_command=TaskCommand(("/bin/sh", "-c", REPORT + script), **limits))


def pid_of(place: Path) -> int:
    """Return what a script wrote into the file `pid`, 0 while it did not."""
    try:
        return int((place / "pid").read_text())
    except (FileNotFoundError, ValueError):
        return 0


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_it_runs_in_the_folder_and_its_report_ends_the_work(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path
) -> None:
    script = 'test -f task.json && test "$PWD" = "$NEPTUNE_TASK"; report Running $?; nice; report Completed done'
    async with running_agent(memory(broker, NODE), shell(tmp_path, script)):
        await cloud.put(lone_task())
        await eventually(lambda: work(cloud).state == "Completed")
        assert [each.message for each in works(cloud) if each.state != "Pending"] in (["0", "done"], ["done"])
        assert (folder(tmp_path) / "output.log").read_text() == f"{min(19, os.nice(0) + 10)}\n"


async def test_the_worker_of_the_guide_does_its_work(cloud: Cloud, broker: BrokerCore, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "edge.md").read_text()
    (script,) = re.findall(r"```sh\n(# worker\.sh.*?)```", guide, re.DOTALL)
    (tmp_path / "worker.sh").write_text(script)
    data = tmp_path / "data"
    data.mkdir()
    (data / "words.txt").write_text("one two\nthree\n")
    command = TaskCommand.of(f"sh '{tmp_path}/worker.sh'", retries=0)
    async with running_agent(memory(broker, NODE), settings(tmp_path, task_command=command)):
        await cloud.put(part(str(data / "words.txt")), model(), task())
        await eventually(lambda: work(cloud).state == "Completed")
        assert work(cloud).metrics == {"words": "3"}
        await cloud.put(part(str(data / "missing.txt"), uid="d2"), task(uid="t2", name="other"))
        await eventually(lambda: work(cloud, "t2").message == "the dataset cannot be read")


async def test_an_end_without_a_report_is_a_failure(cloud: Cloud, broker: BrokerCore, tmp_path: Path) -> None:
    async with running_agent(memory(broker, NODE), shell(tmp_path, "exit 0")):
        await cloud.put(lone_task())
        await eventually(lambda: work(cloud).state == "Failed")
        assert work(cloud).message == "the command ended without complete() or fail()"


async def test_it_is_started_again_and_then_the_failure_has_its_status_and_last_line(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path
) -> None:
    script = "echo x >> runs; echo first; echo 'no such data' >&2; echo; exit 3"
    async with running_agent(memory(broker, NODE), shell(tmp_path, script, retries=2)):
        await cloud.put(lone_task())
        await eventually(lambda: work(cloud).state == "Failed")
        assert work(cloud).message == "the command ended with exit code 3: no such data; it was started 3 times"
        assert (folder(tmp_path) / "runs").read_text() == "x\n" * 3
        assert any("starting it again" in each.message for each in works(cloud))


async def test_one_that_is_killed_says_by_which_signal_and_a_second_try_may_work(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path
) -> None:
    script = "if test -f tried; then report Completed; else touch tried; kill -9 $$; fi"
    async with running_agent(memory(broker, NODE), shell(tmp_path, script)):
        await cloud.put(lone_task())
        await eventually(lambda: work(cloud).state == "Completed")
        assert any("killed by signal 9" in each.message for each in works(cloud))


async def test_a_task_that_goes_ends_its_command_with_all_its_children(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path
) -> None:
    script = "trap '' TERM; sleep 1000 & echo $! > pid; report Running; wait; wait"
    async with running_agent(memory(broker, NODE), shell(tmp_path, script)):
        await cloud.put(lone_task())
        await eventually(lambda: work(cloud).state == "Running")
        pid = pid_of(folder(tmp_path))
        assert is_alive(pid)
        await cloud.delete("t1")
        await eventually(lambda: not is_alive(pid) and not folder(tmp_path).exists())


@pytest.mark.parametrize("is_over", [True, False], ids=["it ends", "the task goes"])
async def test_a_child_that_left_its_session_does_not_outlive_it(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path, is_over: bool
) -> None:
    end = f"until test -s {tmp_path}/pid; do sleep 0.01; done; exit" if is_over else "wait"
    script = f"setsid sh -c 'echo $$ > {tmp_path}/pid; exec sleep 60' & report Running; {end}"
    async with running_agent(memory(broker, NODE), shell(tmp_path, script)):
        await cloud.put(lone_task())
        await eventually(lambda: pid_of(tmp_path) > 0)
        pid = pid_of(tmp_path)
        if not is_over:
            await cloud.delete("t1")
        await eventually(lambda: not is_alive(pid))


async def test_two_cancellations_wait_for_its_end_as_one_does(tmp_path: Path) -> None:
    script = f"trap 'sleep 0.1; exit' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 0.01; done"
    runner = CommandRunner(TaskCommand(("/bin/sh", "-c", script)), {})

    async def settled() -> bool:
        return False

    running = asyncio.create_task(runner.supervise(tmp_path, settled, print, print))
    await eventually(lambda: pid_of(tmp_path) > 0)
    for _ in range(2):  # the task goes, and the agent stops
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not is_alive(pid_of(tmp_path))


async def test_a_new_order_starts_it_anew_and_its_last_words_count_for_nothing(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path
) -> None:
    script = "trap 'report Failed stopped; exit 1' TERM; report Running; cp task.json seen; sleep 1000 & wait"
    async with running_agent(memory(broker, NODE), shell(tmp_path, script)):
        await cloud.put(lone_task())
        await eventually((folder(tmp_path) / "seen").exists)
        await cloud.put(lone_task(generation=2))
        await eventually(lambda: '"generation": 2' in (folder(tmp_path) / "seen").read_text())
        await eventually(lambda: (cloud.latest["t1"].observed_generation, work(cloud).state) == (2, "Running"))
    assert all(each.state != "Failed" for each in works(cloud))


async def test_only_so_many_run_at_a_time(cloud: Cloud, broker: BrokerCore, tmp_path: Path) -> None:
    script = "echo $$ >> ../../../../running; sleep 0.3; echo end >> ../../../../running; report Completed"
    async with running_agent(memory(broker, NODE), shell(tmp_path, script, parallel=1)):
        await cloud.put(lone_task(), lone_task(uid="t2", name="b"), lone_task(uid="t3", name="c"))
        await eventually(lambda: all(work(cloud, uid).state == "Completed" for uid in ("t1", "t2", "t3")))
    lines = (tmp_path / "running").read_text().split()
    assert [line == "end" for line in lines] == [False, True] * 3


async def test_its_memory_is_limited(cloud: Cloud, broker: BrokerCore, tmp_path: Path) -> None:
    script = f"{sys.executable} -I -c 'bytearray(300_000_000)'"
    async with running_agent(memory(broker, NODE), shell(tmp_path, script, memory_mb=100, retries=0)):
        await cloud.put(lone_task())
        await eventually(lambda: work(cloud).state == "Failed")
        assert work(cloud).message == "the command ended with exit code 1: MemoryError"


async def test_its_output_is_bounded(cloud: Cloud, broker: BrokerCore, tmp_path: Path) -> None:
    script = "yes 0123456789 | head -c 5000000; report Completed"
    async with running_agent(memory(broker, NODE), shell(tmp_path, script)):
        await cloud.put(lone_task())
        await eventually(lambda: work(cloud).state == "Completed")
        sizes = [path.stat().st_size for path in folder(tmp_path).glob("output.log*")]
    assert len(sizes) == 2
    assert all(0 < size <= MAX_OUTPUT_BYTES for size in sizes)


async def test_it_gets_no_password(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NEPTUNE_PASSWORD_FILE", "NEPTUNE_BROKER_PASSWORD", "NOTIFY_SOCKET", "NEPTUNE_SEEN"):
        monkeypatch.setenv(name, "x")
    async with running_agent(memory(broker, NODE), shell(tmp_path, "env > env; report Completed")):
        await cloud.put(lone_task())
        await eventually(lambda: work(cloud).state == "Completed")
        names = {line.partition("=")[0] for line in (folder(tmp_path) / "env").read_text().splitlines()}
    assert {"NEPTUNE_SEEN", "NEPTUNE_TASK", "PATH"} <= names
    assert not {"NEPTUNE_PASSWORD_FILE", "NEPTUNE_BROKER_PASSWORD", "NOTIFY_SOCKET"} & names


async def test_it_ends_with_the_agent_and_starts_again_with_it_unless_the_work_is_over(
    cloud: Cloud, broker: BrokerCore, tmp_path: Path
) -> None:
    config = shell(tmp_path, "echo $$ > pid; echo x >> runs; report Running; sleep 1000")
    async with running_agent(memory(broker, NODE), config):
        await cloud.put(lone_task())
        await eventually(lambda: work(cloud).state == "Running")
    assert not is_alive(pid_of(folder(tmp_path)))
    async with running_agent(memory(broker, NODE), shell(tmp_path, "echo x >> runs; report Completed")):
        await eventually(lambda: work(cloud).state == "Completed")
    async with running_agent(memory(broker, NODE), config) as agent:
        await eventually(lambda: agent.started.is_set() and agent.snapshot().last_sync is not None)
        await asyncio.sleep(0.3)
    assert (folder(tmp_path) / "runs").read_text() == "x\n" * 2


AGENT = """
    import asyncio, sys
    from pathlib import Path
    from neptune.edge.store import Store
    from neptune.edge.tasks.command import CommandRunner, TaskCommand
    from neptune.protocol.desired import Change
    from neptune.transport.broker import BrokerCore
    from tests.edge.bench import memory, running_agent, settings
    from tests.edge.tasks.bench import lone_task
    async def main():
        folder = Path(sys.argv[1])
        command = TaskCommand(("/bin/sh", "-c", "sleep 1000 & echo $! > pid; wait"))
        config = settings(folder, task_command=command)
        with Store(config.state_dir) as store:
            store.load()
            store.save(Change(stored=(lone_task(),)))
        async with running_agent(memory(BrokerCore(), "edge0"), config):
            await asyncio.sleep(1000)
    asyncio.run(main())
"""


async def test_an_agent_that_is_killed_leaves_no_command_behind(tmp_path: Path) -> None:
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(AGENT), str(tmp_path), stdout=subprocess.DEVNULL
    )
    await eventually(lambda: pid_of(folder(tmp_path)) > 0, seconds=30)
    pid = pid_of(folder(tmp_path))
    assert is_alive(pid)
    agent.send_signal(signal.SIGKILL)
    await agent.wait()
    await eventually(lambda: not is_alive(pid))


@pytest.mark.parametrize(
    ("line", "named"),
    [("train 'a", "quotation"), ("", "no program"), ("./train.py", "full path"), ("nope-x", "nope-x")],
)
def test_a_command_that_cannot_be_run_is_a_bad_setting(line: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        TaskCommand.of(line)


def test_a_command_is_read_as_a_shell_would() -> None:
    assert TaskCommand.of("sh -c 'echo 1; exit'", parallel=2) == TaskCommand(("sh", "-c", "echo 1; exit"), parallel=2)
