"""The agent over a broker in the process, with real files, a real sqlite and the real protocol on both sides."""

from __future__ import annotations

from pathlib import Path

from neptune.protocol.topics import Topics
from neptune.transport.broker import BrokerCore
from tests.edge.bench import dataset, eventually, memory, running_agent, running_cloud, settings


async def test_a_dataset_is_counted_and_reported(tmp_path: Path) -> None:
    broker, topics = BrokerCore(), Topics()
    config = settings(tmp_path)
    file = tmp_path / "data" / "a.txt"
    file.write_bytes(b"one\n\ntwo\nthree")
    async with running_cloud(memory(broker, "cloud"), topics) as cloud, running_agent(memory(broker, "edge0"), config):
        await cloud.put(dataset(str(file)))
        await eventually(lambda: cloud.samples() == 3)
        with file.open("ab") as data:
            data.write(b"\nfour\n")
        await eventually(lambda: cloud.samples() == 4)
        file.unlink()
        await eventually(lambda: cloud.reason() == "NotFound")
        assert cloud.samples() == 4
        file.write_bytes(b"1\n")
        await eventually(lambda: cloud.samples() == 1)
