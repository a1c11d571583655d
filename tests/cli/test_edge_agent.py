"""`edge-agent` as a service: readiness, status, reload and stop, with a real broker."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from neptune.cli.status import NotRunning, read_status
from neptune.protocol.topics import Topics
from neptune.testing.processes import free_port
from neptune.transport.mqtt import MqttSettings, MqttTransport
from tests.edge.bench import NODE, SECONDS, Cloud, dataset, eventually, running_cloud
from tests.edge.tasks.bench import lone_task, work
from tests.support.mosquitto import Broker, Mosquitto
from tests.support.proxy import Proxy

SCRIPT = Path(sys.executable).parent / "edge-agent"
#: A worker that reports once and goes on for long.
WORKER = """
echo '{"state": "Running", "progress": 40, "message": "round 2"}' > reports/.tmp-1
mv reports/.tmp-1 reports/1.json
sleep 1000
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def url(mosquitto: Broker | Mosquitto) -> str:
    return f"mqtt://{mosquitto.host}:{mosquitto.port}"


@pytest.fixture
async def cloud(url: str, topic_prefix: str) -> AsyncIterator[Cloud]:
    transport = MqttTransport(MqttSettings(url=url, client_id=f"cloud-{topic_prefix}"))
    async with running_cloud(transport, Topics(topic_prefix)) as cloud:
        yield cloud


@pytest.fixture
def start(tmp_path: Path, topic_prefix: str) -> Iterator[Start]:
    """Give a function that starts an agent with a settings file; whatever still runs in the end is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start_it(broker: str, **environ: str) -> subprocess.Popen[bytes]:
        (tmp_path / "data").mkdir(exist_ok=True)
        write_settings(tmp_path, broker, topic_prefix)
        with (tmp_path / "log").open("ab") as log:
            process = subprocess.Popen(
                [SCRIPT, "--config", str(tmp_path / "agent.toml")], stderr=log, env={**os.environ, **environ}
            )
        started.append(process)
        return process

    yield start_it
    for process in started:
        process.kill()
        process.wait()


def write_settings(folder: Path, broker: str, prefix: str, *, root: str = "data", more: str = "") -> None:
    text = (
        f'node = "{NODE}"\nbroker = "{broker}"\ntopic-prefix = "{prefix}"\nroot = ["{folder / root}"]\n'
        f'state-dir = "{folder / "state"}"\n{more}'
    )
    (folder / "agent.toml").write_text(text)


def status(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = ("status", "--state-dir", str(folder / "state"), *args)
    return subprocess.run([SCRIPT, *command], capture_output=True, text=True, timeout=60, check=False)


def status_of(folder: Path) -> dict[str, Any]:
    """Return what the agent tells, and nothing while it does not."""
    try:
        return read_status(folder / "state")
    except NotRunning:
        return {}


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def heard(folder: Path, event: str) -> bool:
    return any(each["event"] == event for each in events(folder))


async def test_status_tells_the_link_and_the_numbers(url: str, start: Start, cloud: Cloud, tmp_path: Path) -> None:
    start(url)
    (tmp_path / "data" / "a.txt").write_bytes(b"1\n\n2\n")
    cloud.objects["u1"] = dataset(str(tmp_path / "data" / "a.txt"))
    cloud.objects["u2"] = dataset("/elsewhere\n", uid="u2")
    await eventually(lambda: cloud.samples() == 2 and "u2" in cloud.latest)
    await eventually(lambda: status_of(tmp_path).get("outbox") == 0)
    found = status_of(tmp_path)
    assert (found["node"], found["broker"], found["connected"], found["queue"]) == (NODE, url, True, 0)
    assert found["lastSync"].endswith("Z")
    by_name = {each["name"]: each for each in found["datasets"]}
    assert (by_name["name-of-u1"]["samples"], by_name["name-of-u1"]["ready"]) == (2, "True")
    assert (by_name["name-of-u2"]["samples"], by_name["name-of-u2"]["reason"]) == (None, "OutsideRoots")
    assert json.loads(status(tmp_path, "--output", "json").stdout) == found
    lines = status(tmp_path).stdout.splitlines()
    assert lines[1].split()[-1] == "connected"
    assert any(line.split()[:4] == ["default/name-of-u1", "2", "True", "Counted"] for line in lines)


async def test_status_tells_the_tasks(url: str, start: Start, cloud: Cloud, tmp_path: Path) -> None:
    (tmp_path / "worker.sh").write_text(WORKER)
    start(url, NEPTUNE_TASK_COMMAND=f"sh '{tmp_path}/worker.sh'")
    cloud.objects["t1"] = lone_task()
    await eventually(lambda: work(cloud).state == "Running")
    (found,) = status_of(tmp_path)["tasks"]
    assert found == {
        "kind": "FederatedTask", "namespace": "shop", "name": "digits", "state": "Running", "progress": 40,
        "message": "round 2",
    }  # fmt: skip
    words = ["FederatedTask", "shop/digits", "Running", "40", "round", "2"]
    assert any(line.split() == words for line in status(tmp_path).stdout.splitlines())


def test_a_command_that_is_not_there_ends_the_agent_with_2(start: Start, tmp_path: Path) -> None:
    agent = start(f"mqtt://127.0.0.1:{free_port()}", NEPTUNE_TASK_COMMAND="no-such-program --fast")
    assert agent.wait(SECONDS) == 2
    assert "there is no program 'no-such-program'" in (tmp_path / "log").read_text()


async def test_status_says_why_there_is_no_connection(start: Start, tmp_path: Path) -> None:
    start(f"mqtt://127.0.0.1:{free_port()}")
    await eventually(lambda: "refused" in str(status_of(tmp_path).get("reason")))
    assert status_of(tmp_path)["connected"] is False
    assert "not connected (" in status(tmp_path).stdout


async def test_the_socket_is_for_the_agents_user_and_group(start: Start, tmp_path: Path) -> None:
    start(f"mqtt://127.0.0.1:{free_port()}")
    await eventually(lambda: bool(status_of(tmp_path)))
    mode = stat.S_IMODE((tmp_path / "state" / "agent.sock").stat().st_mode)
    assert mode & ~0o660 == 0


async def test_status_without_an_agent_is_one_line_and_exit_code_1(start: Start, tmp_path: Path) -> None:
    agent = start(f"mqtt://127.0.0.1:{free_port()}")
    await eventually(lambda: bool(status_of(tmp_path)))
    agent.kill()  # leaves the socket's file behind
    agent.wait()
    for folder in (tmp_path, tmp_path / "nowhere"):
        done = status(folder)
        assert (done.returncode, done.stdout) == (1, "")
        assert "no agent is running at" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    start(f"mqtt://127.0.0.1:{free_port()}")
    await eventually(lambda: bool(status_of(tmp_path)))


async def test_a_second_agent_on_the_state_leaves_the_first_ones_socket(start: Start, tmp_path: Path) -> None:
    first = start(f"mqtt://127.0.0.1:{free_port()}")
    await eventually(lambda: bool(status_of(tmp_path)))
    assert start(f"mqtt://127.0.0.1:{free_port()}").wait(SECONDS) == 2
    assert status_of(tmp_path)["pid"] == first.pid


@pytest.mark.parametrize("args", [["--output", "yaml"], ["--stat-dir", "x"], ["more"]])
def test_wrong_usage_of_status_ends_with_2(tmp_path: Path, args: list[str]) -> None:
    done = status(tmp_path, *args)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


async def test_the_service_manager_hears_ready_alive_and_stopping(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(SECONDS)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        broker = f"mqtt://127.0.0.1:{free_port()}"
        agent = start(broker, **environ)
        said = {listener.recv(4096), listener.recv(4096), listener.recv(4096)}
        assert said == {b"WATCHDOG=1", f"READY=1\nSTATUS=node {NODE}, broker {broker}".encode()}
        agent.send_signal(signal.SIGTERM)
        while (message := listener.recv(4096)) == b"WATCHDOG=1":
            pass
        assert message == b"STOPPING=1"
        assert agent.wait(SECONDS) == 0
    assert not (tmp_path / "state" / "agent.sock").exists()


async def test_hangup_reads_roots_and_log_level_anew(
    url: str, topic_prefix: str, start: Start, cloud: Cloud, tmp_path: Path
) -> None:
    agent = start(url)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.txt").write_bytes(b"1\n2\n3\n")
    cloud.objects["u1"] = dataset(str(tmp_path / "other" / "b.txt"))
    await eventually(lambda: "u1" in cloud.latest and cloud.latest["u1"].conditions[0].reason == "OutsideRoots")
    write_settings(tmp_path, url, topic_prefix, root="other", more='log-level = "warning"\n')
    said = len(events(tmp_path))
    agent.send_signal(signal.SIGHUP)
    await eventually(lambda: cloud.samples() == 3)
    await eventually(lambda: status_of(tmp_path).get("connected") is True)
    assert all(each["level"] == "warning" for each in events(tmp_path)[said:] if each["event"] != "agent stopped")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("more", "reason"),
    [("roots = 1\n", "unknown setting 'roots'"), ('ca-file = "/missing"\n', "not encrypted"), ("[", "is not TOML")],
)
async def test_a_reload_that_makes_no_sense_is_refused_and_the_agent_goes_on(
    topic_prefix: str, start: Start, tmp_path: Path, more: str, reason: str
) -> None:
    broker = f"mqtt://127.0.0.1:{free_port()}"
    agent = start(broker)
    await eventually(lambda: bool(status_of(tmp_path)))
    write_settings(tmp_path, broker, topic_prefix, more=more)
    agent.send_signal(signal.SIGHUP)
    await eventually(lambda: heard(tmp_path, "reload refused"))
    assert reason in next(each["reason"] for each in events(tmp_path) if each["event"] == "reload refused")
    assert status_of(tmp_path)["pid"] == agent.pid


async def test_another_state_directory_needs_a_restart(start: Start, tmp_path: Path) -> None:
    agent = start(f"mqtt://127.0.0.1:{free_port()}")
    await eventually(lambda: bool(status_of(tmp_path)))
    settings = (tmp_path / "agent.toml").read_text()
    (tmp_path / "agent.toml").write_text(settings.replace("/state", "/moved"))
    agent.send_signal(signal.SIGHUP)
    await eventually(lambda: heard(tmp_path, "reload refused"))
    assert status_of(tmp_path)["pid"] == agent.pid


async def test_a_broker_that_hangs_does_not_hold_up_the_end(
    mosquitto: Broker | Mosquitto, start: Start, tmp_path: Path
) -> None:
    async with Proxy(mosquitto.port, mosquitto.host) as proxy:
        agent = start(f"mqtt://127.0.0.1:{proxy.port}")
        await eventually(lambda: status_of(tmp_path).get("connected") is True)
        agent.send_signal(signal.SIGTERM)
        # This blocks the loop that the proxy lives in, so that nothing passes and nothing is answered.
        assert agent.wait(SECONDS) == 0
