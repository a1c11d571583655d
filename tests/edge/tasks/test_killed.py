"""An agent and a worker that are killed at any moment, on a real broker."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from neptune.protocol.topics import Topics
from neptune.transport.mqtt import MqttSettings, MqttTransport
from tests.edge.bench import NODE, eventually, running_cloud
from tests.edge.tasks.bench import folder, lone_task, said, work, works
from tests.edge.test_footprint import AgentProcess
from tests.support.mosquitto import Broker, Mosquitto

#: Reports its progress, going on where the file `progress` says, and completes. It needs three seconds, more than what
#: it is given before it is killed for the last time.
WORKER = """
    import os, sys, time
    from pathlib import Path
    from tests.edge.tasks.bench import report
    place, note = Path(sys.argv[1]), Path(sys.argv[2])
    draft = note.with_name("draft")
    for step in range(int(note.read_text()), 600):
        report(place, progress=step // 6, metrics={"loss": 1 / (1 + step)})
        draft.write_text(str(step))
        os.replace(draft, note)  # a kill leaves a whole note, or the next worker would begin again and rightly say so
        time.sleep(0.005)
    report(place, "Completed", progress=100, metrics={"accuracy": 0.9})
"""


@pytest.fixture
def url(mosquitto: Broker | Mosquitto) -> str:
    return f"mqtt://{mosquitto.host}:{mosquitto.port}"


@pytest.fixture
def agent(url: str, topic_prefix: str, tmp_path: Path) -> Iterator[AgentProcess]:
    process = AgentProcess(url, str(tmp_path), topic_prefix, NODE, log=tmp_path / "log")
    process.start()
    yield process
    process.stop()


async def test_whoever_is_killed_the_reports_arrive_in_order_and_the_end_arrives_once(
    url: str, topic_prefix: str, tmp_path: Path, agent: AgentProcess
) -> None:
    note = tmp_path / "progress"
    note.write_text("0")
    transport = MqttTransport(MqttSettings(url=url, client_id=f"cloud-{topic_prefix}"))
    async with running_cloud(transport, Topics(topic_prefix)) as cloud:
        await cloud.put(lone_task())
        await eventually(lambda: bool(said(tmp_path)), seconds=30)
        for round_ in range(5):
            worker = await asyncio.create_subprocess_exec(
                sys.executable, "-c", textwrap.dedent(WORKER), str(folder(tmp_path)), str(note)
            )
            await asyncio.sleep(0.15 * (round_ + 1))  # so that they are killed while they start, write, take or store
            agent.kill()
            if round_ < 4 and worker.returncode is None:
                worker.kill()
            await worker.wait()
            agent.start()
        await eventually(lambda: work(cloud).state == "Completed", seconds=30)
        await eventually(lambda: not list((folder(tmp_path) / "reports").glob("*.json")))
    progress = [each.progress for each in works(cloud) if each.progress is not None]
    assert progress == sorted(progress)
    assert {each.id for each in works(cloud) if each.state == "Completed"} == {work(cloud).id}
    assert not (folder(tmp_path) / "rejected").exists()
