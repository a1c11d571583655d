"""What a running agent weighs, on a real broker: counting, connected, idle."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from neptune.protocol.topics import Topics
from neptune.transport.mqtt import MqttSettings, MqttTransport
from tests.edge.bench import NODE, SECONDS, dataset, eventually, running_cloud
from tests.support.mosquitto import Broker, Mosquitto

#: The budget of design and README: resident memory of an idle agent (MB).
BUDGET_MB = 35

# Without rich, which a node has not and which structlog would load; the rest is what `edge-agent` does.
AGENT = """
    import asyncio, sys
    from pathlib import Path
    sys.modules["rich"] = None
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
    file.write_bytes(b"a line of text\n" * 2_000_000)
    return file


@pytest.fixture
def url(mosquitto: Broker | Mosquitto) -> str:
    return f"mqtt://{mosquitto.host}:{mosquitto.port}"


@pytest.fixture
def agent(url: str, topic_prefix: str, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that is an agent and nothing else; it has to end well."""
    command = [sys.executable, "-c", textwrap.dedent(AGENT), url, str(tmp_path), topic_prefix, NODE]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)
    yield process
    process.communicate(b"stop\n", SECONDS)
    assert process.returncode == 0, (tmp_path / "log").read_text()


async def test_an_agent_that_has_counted_a_large_file_stays_within_its_budget(
    url: str, topic_prefix: str, tmp_path: Path, large_file: Path, agent: subprocess.Popen[bytes]
) -> None:
    transport = MqttTransport(MqttSettings(url=url, client_id=f"cloud-{topic_prefix}"))
    async with running_cloud(transport, Topics(topic_prefix)) as cloud:
        for number in range(100):
            small = tmp_path / f"{number}.txt"
            small.write_bytes(b"1\n")
            cloud.objects[f"u{number}"] = dataset(str(small), uid=f"u{number}")
        cloud.objects["large"] = dataset(str(large_file), uid="large")
        await eventually(lambda: cloud.samples("large") == 2_000_000 and len(cloud.latest) == 101)
        status = dict(line.split(":", 1) for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines())
        assert int(status["VmRSS"].split()[0]) / 1024 < BUDGET_MB
