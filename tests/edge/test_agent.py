"""The agent over a broker in the process, with real files, a real sqlite and the real protocol on both sides."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from neptune.edge.agent import Agent, AgentSettings
from neptune.edge.store import Store
from neptune.errors import SettingsError
from neptune.protocol.desired import Change
from neptune.protocol.messages import DesiredObject
from neptune.protocol.presence import NodeState
from neptune.protocol.topics import Topics
from neptune.transport import Message, Published
from neptune.transport.broker import BrokerCore
from neptune.transport.broker_types import Action, Peer
from neptune.transport.memory import MemoryTransport
from tests.edge.bench import (
    NODE,
    dataset,
    eventually,
    memory,
    running_agent,
    running_cloud,
    settings,
)
from tests.support.mounts import small_mount

TOPICS = Topics()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "a.txt"
    file.write_bytes(b"one\n\ntwo\nthree")
    return file


@pytest.fixture
def broker() -> BrokerCore:
    return BrokerCore()


async def test_a_dataset_is_counted_followed_and_forgotten(tmp_path: Path, file: Path, broker: BrokerCore) -> None:
    config = settings(tmp_path)
    async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud, running_agent(memory(broker, NODE), config):
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
        await cloud.delete("u1")
        await cloud.put(dataset(str(file), uid="u2"))
        await eventually(lambda: cloud.samples("u2") == 1)
    with Store(config.state_dir) as store:
        assert store.load().objects.keys() == {"u2"}


async def test_every_generation_is_reported_and_the_last_url_wins(
    tmp_path: Path, file: Path, broker: BrokerCore
) -> None:
    other = file.with_name("b.txt")
    other.write_bytes(b"1\n2\n3\n")
    async with (
        running_cloud(memory(broker, "cloud"), TOPICS) as cloud,
        running_agent(memory(broker, NODE), settings(tmp_path)),
    ):
        await cloud.put(dataset(str(file)))
        await eventually(lambda: cloud.samples() == 3)
        await cloud.put(dataset(str(other), generation=2))
        await eventually(lambda: cloud.latest["u1"].observed_generation == 2)
        assert cloud.samples() == 3
        assert cloud.latest["u1"].update_time == cloud.reports[0].update_time
        await cloud.put(dataset("/elsewhere", generation=3))
        await eventually(lambda: cloud.reason() == "OutsideRoots")
        assert (cloud.samples(), cloud.latest["u1"].observed_generation) == (None, 3)


async def test_with_the_cloud_away_from_the_start_it_counts_and_tells_later(
    tmp_path: Path, file: Path, broker: BrokerCore
) -> None:
    config = settings(tmp_path)
    with Store(config.state_dir) as store:
        store.load()
        store.save(Change(stored=(dataset(str(file)),)))
    broker.stop()
    async with running_agent(memory(broker, NODE), config):
        await eventually(lambda: b'"samples": 3' in _disk(config.state_dir))
    async with running_agent(memory(broker, NODE), config):
        broker.start()
        async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud:
            cloud.objects["u1"] = dataset(str(file))
            await eventually(lambda: cloud.samples() == 3)


async def test_after_a_restart_it_tells_what_changed_meanwhile(tmp_path: Path, file: Path, broker: BrokerCore) -> None:
    config = settings(tmp_path)
    async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud:
        async with running_agent(memory(broker, NODE), config):
            await cloud.put(dataset(str(file)))
            await eventually(lambda: cloud.samples() == 3)
        file.write_bytes(b"1\n")
        cloud.objects["u2"] = dataset(str(file), uid="u2")
        async with running_agent(memory(broker, NODE), config):
            await eventually(lambda: cloud.samples("u1") == cloud.samples("u2") == 1)


async def test_a_broker_that_restarts_is_told_once_and_nothing_is_lost(
    tmp_path: Path, file: Path, broker: BrokerCore
) -> None:
    with capture_logs() as logs:
        async with (
            running_cloud(memory(broker, "cloud"), TOPICS) as cloud,
            running_agent(memory(broker, NODE), settings(tmp_path)),
        ):
            await cloud.put(dataset(str(file)))
            await eventually(lambda: cloud.samples() == 3)
            broker.stop()
            file.write_bytes(b"1\n")
            await eventually(lambda: any(line["event"] == "broker unreachable" for line in logs))
            await asyncio.sleep(0.3)  # several more attempts
            broker.start()
            await eventually(lambda: cloud.samples() == 1)
    told = [(line["event"], line.get("reason")) for line in logs if line["event"].startswith("broker")]
    assert [event for event, _ in told].count("broker connected") == 2
    assert len(told) == len(set(told)) + 1, told


async def test_the_cloud_sees_the_node_come_and_go(tmp_path: Path, broker: BrokerCore) -> None:
    async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud:
        presence = cloud.link.presence
        async with running_agent(memory(broker, NODE), settings(tmp_path)):
            await eventually(lambda: presence.state(NODE) is NodeState.ONLINE)
        await eventually(lambda: presence.next_deadline() is not None)


async def test_other_kinds_are_kept_and_not_counted(tmp_path: Path, file: Path, broker: BrokerCore) -> None:
    config = settings(tmp_path)
    model = DesiredObject("Model", "default", "m", "u9", 1, {"url": str(file), "format": "txt"})
    async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud, running_agent(memory(broker, NODE), config):
        await cloud.put(model)
        await cloud.put(dataset(str(file)))
        await eventually(lambda: cloud.samples() == 3)
        assert cloud.latest.keys() == {"u1"}
    with Store(config.state_dir) as store:
        assert store.load().objects["u9"] == model


async def test_a_refused_publish_is_told_once_with_the_remedy(tmp_path: Path, file: Path) -> None:
    def no_status(peer: Peer, action: Action, topic: str) -> bool:
        return not (action is Action.WRITE and topic.endswith("/status/update"))

    broker = BrokerCore(authorize=no_status)
    with capture_logs() as logs:
        async with (
            running_cloud(memory(broker, "cloud"), TOPICS) as cloud,
            running_agent(memory(broker, NODE), settings(tmp_path)),
        ):
            await cloud.put(dataset(str(file)))
            await eventually(lambda: any(line["event"] == "publish denied" for line in logs))
            file.write_bytes(b"1\n")
            await eventually(lambda: b'"samples": 1' in _disk(tmp_path / "state"))
    denied = [line for line in logs if line["event"] == "publish denied"]
    assert [line["topic"] for line in denied] == [f"$hw/events/node/{NODE}/neptune/status/update"]
    assert "access list" in denied[0]["remedy"]


class WitnessTransport(MemoryTransport):
    """Remembers what was on the disk when a status was first handed to the broker."""

    state_dir: Path
    disk = b""

    async def publish(self, message: Message) -> Published:
        if message.topic.endswith("/status/update") and not self.disk:
            self.disk = _disk(self.state_dir)
        return await super().publish(message)


async def test_a_number_is_on_the_disk_before_it_is_reported(tmp_path: Path, file: Path, broker: BrokerCore) -> None:
    config, transport = settings(tmp_path), WitnessTransport(broker, NODE)
    transport.state_dir = config.state_dir
    async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud, running_agent(transport, config):
        await cloud.put(dataset(str(file)))
        await eventually(lambda: cloud.samples() == 3)
    assert b'"samples": 3' in transport.disk


class SlowTransport(MemoryTransport):
    """A broker whose acknowledgements take for ever once it is told to."""

    is_slow = False

    async def publish(self, message: Message) -> Published:
        outcome = await super().publish(message)
        if self.is_slow:
            await asyncio.sleep(3600)
        return outcome


async def test_a_slow_acknowledgement_does_not_stop_receiving(tmp_path: Path, file: Path, broker: BrokerCore) -> None:
    transport = SlowTransport(broker, NODE)
    async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud, running_agent(transport, settings(tmp_path)):
        await cloud.put(dataset(str(file)))
        await eventually(lambda: cloud.samples() == 3)
        transport.is_slow = True
        file.write_bytes(b"1\n")
        await cloud.put(dataset(str(file), uid="u2"))
        await cloud.put(dataset(str(file), uid="u3"))
        await eventually(lambda: b"u3" in _disk(tmp_path / "state"))


async def test_nothing_is_said_or_written_when_nothing_changes(tmp_path: Path, file: Path, broker: BrokerCore) -> None:
    config = settings(tmp_path, poll_seconds=0.02)
    async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud, running_agent(memory(broker, NODE), config):
        await cloud.put(dataset(str(file)))
        await eventually(lambda: cloud.samples() == 3)
        await asyncio.sleep(0.2)  # a file that is this fresh is looked at twice
        said, disk = broker.statistics().received, _disk(config.state_dir)
        await asyncio.sleep(0.3)  # many polls
        assert (broker.statistics().received, _disk(config.state_dir)) == (said, disk)


async def test_many_datasets_arrive_at_once_and_are_all_reported(tmp_path: Path, broker: BrokerCore) -> None:
    config = settings(tmp_path)
    items = []
    for number in range(600):
        path = tmp_path / "data" / f"{number}.txt"
        path.write_bytes(b"x\n" * number)
        items.append(dataset(str(path), uid=f"u{number}"))
    async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud, running_agent(memory(broker, NODE), config):
        await cloud.put(*items)
        await eventually(lambda: all(cloud.samples(f"u{number}") == number for number in range(600)))


async def test_with_a_full_disk_it_goes_on_counting_and_reporting(
    tmp_path: Path, file: Path, broker: BrokerCore
) -> None:
    config = settings(tmp_path)
    config.state_dir.mkdir()
    with small_mount(config.state_dir, kilobytes=128), capture_logs() as logs:
        (config.state_dir / "filler").write_bytes(bytes(100 * 1024))
        async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud, running_agent(memory(broker, NODE), config):
            await cloud.put(*(dataset(str(file), uid=f"u{number}") for number in range(200)))
            await eventually(lambda: cloud.samples("u199") == 3)
            with file.open("ab") as data:
                data.write(b"\nfour\n")
            await eventually(lambda: cloud.samples("u199") == 4)
    assert [line["event"] for line in logs].count("state not stored") == 1


async def test_a_state_that_is_damaged_is_rebuilt_from_the_cloud(
    tmp_path: Path, file: Path, broker: BrokerCore
) -> None:
    config = settings(tmp_path)
    async with running_cloud(memory(broker, "cloud"), TOPICS) as cloud:
        async with running_agent(memory(broker, NODE), config):
            await cloud.put(dataset(str(file)))
            await eventually(lambda: cloud.samples() == 3)
        (config.state_dir / "node.db").write_bytes(b"no database" * 1000)
        file.write_bytes(b"1\n")
        with capture_logs() as logs:
            async with running_agent(memory(broker, NODE), config):
                await eventually(lambda: cloud.samples() == 1)
                await eventually(lambda: b'"samples": 1' in _disk(config.state_dir))
    assert "state moved aside" in [line["event"] for line in logs]


async def test_a_second_agent_on_the_same_state_is_refused(tmp_path: Path, broker: BrokerCore) -> None:
    config = settings(tmp_path)
    async with running_agent(memory(broker, NODE), config):
        await eventually(lambda: broker.statistics().clients == 1)
        with pytest.raises(SettingsError, match="in use by another agent"):
            await Agent(config, memory(broker, "edge1")).run(asyncio.Event())


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"node": "Edge_0"}, "node name 'Edge_0'"),
        ({"node": ""}, "node name ''"),
        ({"roots": ()}, "--root"),
        ({"roots": ("data",)}, "root 'data'"),
        ({"poll_seconds": 0.0}, "above zero"),
        ({"topic_prefix": "a/#"}, "topic prefix 'a/#'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(tmp_path: Path, values: dict[str, object], named: str) -> None:
    known: dict[str, object] = {"node": NODE, "state_dir": tmp_path, **values}
    with pytest.raises(SettingsError, match=named):
        AgentSettings(**known)  # type: ignore[arg-type]  # by keyword


def _disk(folder: Path) -> bytes:
    """Return all bytes of a store, those that sqlite has not moved into place yet included."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("node.db*")) if not path.name.endswith("shm"))
