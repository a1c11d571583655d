"""What a running agent weighs, on a real broker: counting, connected, idle."""

from __future__ import annotations

import asyncio
import compileall
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import neptune
from neptune.protocol.topics import Topics
from neptune.transport.mqtt import MqttSettings, MqttTransport
from tests.edge.bench import NODE, SECONDS, dataset, eventually, running_cloud
from tests.support.mosquitto import Broker, Mosquitto

#: The budget of design and README: resident memory of an idle agent (MB), by its datasets.
BUDGET_MB = {100: 35, 500: 40, 5000: 60}

# What `edge-agent` does.
AGENT = """
    import asyncio, sys
    from pathlib import Path
    from neptune import log
    from neptune.edge.agent import Agent, AgentSettings
    from neptune.transport.mqtt import MqttSettings, MqttTransport
    async def main(url, folder, prefix, node):
        stop = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
        config = AgentSettings(node=node, state_dir=folder / "state", roots=(str(folder),), topic_prefix=prefix)
        await Agent(config, MqttTransport(MqttSettings(url=url, client_id=prefix))).run(stop)
    log.configure()
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3], sys.argv[4]))
"""


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    file = tmp_path / "large.txt"
    file.write_bytes(b"a line of text\n" * 4_000_000)  # enough for a process of its own
    return file


@pytest.fixture
def url(mosquitto: Broker | Mosquitto) -> str:
    return f"mqtt://{mosquitto.host}:{mosquitto.port}"


class AgentProcess:
    """An agent and nothing else, in a process that can be killed and started again."""

    def __init__(self, *arguments: str, log: Path) -> None:
        self._arguments = arguments
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with self._log.open("ab") as log:
            command = [sys.executable, "-c", textwrap.dedent(AGENT), *self._arguments]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log, env=environ)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        """End it as SIGTERM would; it has to end well."""
        assert self._process is not None
        self._process.communicate(b"stop\n", SECONDS)
        assert self._process.returncode == 0, self._log.read_text()


@pytest.fixture
def agent(url: str, topic_prefix: str, tmp_path: Path) -> Iterator[AgentProcess]:
    assert compileall.compile_dir(Path(neptune.__file__).parent, quiet=2)  # as an installation does
    process = AgentProcess(url, str(tmp_path), topic_prefix, NODE, log=tmp_path / "log")
    process.start()
    yield process
    process.stop()


@pytest.mark.parametrize(("number", "budget_mb"), BUDGET_MB.items())
async def test_an_agent_that_has_counted_a_large_file_stays_within_its_budget(
    url: str, topic_prefix: str, tmp_path: Path, large_file: Path, agent: AgentProcess, number: int, budget_mb: int
) -> None:
    transport = MqttTransport(MqttSettings(url=url, client_id=f"cloud-{topic_prefix}"))
    async with running_cloud(transport, Topics(topic_prefix)) as cloud:
        for index in range(number):
            small = tmp_path / f"{index}.txt"
            small.write_bytes(b"1\n")
            cloud.objects[f"u{index}"] = dataset(str(small), uid=f"u{index}")
        cloud.objects["large"] = dataset(str(large_file), uid="large")
        is_done = lambda: cloud.samples("large") == 4_000_000 and len(cloud.latest) == number + 1  # noqa: E731
        await eventually(is_done, seconds=60.0)
        status = dict(line.split(":", 1) for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines())
        assert int(status["VmRSS"].split()[0]) / 1024 < budget_mb


async def test_an_agent_that_is_killed_at_any_moment_has_the_right_numbers_after_it(
    url: str, topic_prefix: str, tmp_path: Path, agent: AgentProcess
) -> None:
    transport = MqttTransport(MqttSettings(url=url, client_id=f"cloud-{topic_prefix}"))
    files = [tmp_path / f"{number}.txt" for number in range(20)]
    async with running_cloud(transport, Topics(topic_prefix)) as cloud:
        cloud.objects.update((f"u{number}", dataset(str(file), uid=f"u{number}")) for number, file in enumerate(files))
        for round_ in range(1, 5):
            for file in files:
                with file.open("ab") as stream:
                    stream.write(b"line\n")
            await asyncio.sleep(0.15 * round_)  # so that it is killed while it starts, counts, stores or reports
            agent.kill()
            agent.start()
        await eventually(lambda: all(cloud.samples(f"u{number}") == 4 for number in range(20)))
        with files[7].open("ab") as stream:
            stream.write(b"line\n")
        await eventually(lambda: cloud.samples("u7") == 5)
