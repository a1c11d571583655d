"""A cloud in the test's process, and words for running an agent against it.

The cloud's half of the link is the real one (`protocol.cloud.CloudLink`); what the API server would say to a status is
decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from neptune.clock import SystemClock
from neptune.edge.agent import Agent, AgentSettings
from neptune.protocol import cloud, messages
from neptune.protocol.actions import Publish
from neptune.protocol.cloud import CloudLink
from neptune.protocol.credentials import CredentialsAsked, CredentialsTold
from neptune.protocol.messages import DesiredObject, StatusReport, Verdict
from neptune.protocol.topics import Topics
from neptune.transport import Connected, Message, Received, Session, Transport
from neptune.transport.broker import BrokerCore
from neptune.transport.memory import MemoryTransport
from neptune.transport.retry import RetryPolicy
from tests.support.inventory import LiveInventory

NODE = "edge0"
SECONDS = 10.0  # how long something may take before a test gives up
QUICKLY = RetryPolicy(first_seconds=0.02, max_seconds=0.05)


def dataset(
    url: str, *, uid: str = "u1", generation: int = 1, format_: str = "txt", credential: str = ""
) -> DesiredObject:
    spec = {"url": url, "format": format_, "nodeName": NODE}
    if credential:
        spec["credentialName"] = credential
    return DesiredObject("Dataset", "default", f"name-of-{uid}", uid, generation, spec)


async def eventually(condition: Callable[[], bool], *, seconds: float = SECONDS) -> None:
    """Return as soon as `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


def counting_processes() -> list[int]:
    """Return the pids of the counting processes that this process has."""
    found = []
    for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        with contextlib.suppress(OSError):  # it has just ended
            if b"counting_child" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(int(pid))
    return found


class Cloud:
    """The cloud side of one broker: has objects, and takes every status."""

    def __init__(self, transport: Transport, topics: Topics, *, epoch: int = 1) -> None:
        self.objects: dict[str, DesiredObject] = {}
        #: Every report that came, in order.
        self.reports: list[StatusReport] = []
        #: What is told of credentials, by uid: values, or a code and a reason. Who asks for others waits.
        self.credentials: dict[str, dict[str, str] | tuple[int, str]] = {}
        self.asked: list[CredentialsAsked] = []
        self._transport = transport
        inventory = LiveInventory(lambda _node: self.objects.values(), lambda _node: self.latest.values())
        self.link = CloudLink(epoch, topics, inventory, is_ready=True, is_encrypted=True)
        self._clock = SystemClock()

    @property
    def latest(self) -> dict[str, StatusReport]:
        return {report.uid: report for report in self.reports}

    def samples(self, uid: str = "u1") -> int | None:
        report = self.latest.get(uid)
        return report.number_of_samples if report else None

    def reason(self, uid: str = "u1") -> str:
        report = self.latest.get(uid)
        return report.conditions[0].reason if report else ""

    async def put(self, *items: DesiredObject) -> None:
        self.objects.update((item.uid, item) for item in items)
        await self._publish(self.link.push(NODE, items, (), self._timestamp()))

    async def delete(self, uid: str) -> None:
        del self.objects[uid]
        await self._publish(self.link.push(NODE, (), (uid,), self._timestamp()))

    async def run(self) -> None:
        will: Callable[[int], Message] = lambda number: self.link.will(number, self._timestamp())  # noqa: E731
        await self._transport.open(Session(self.link.topics.filters_of_cloud(), will))
        while True:
            event = await self._transport.next_event()
            if isinstance(event, Connected):
                await self._publish(self.link.announce(event.connection, self._timestamp()))
            if isinstance(event, Received):
                await self._publish(self.link.received(event, self._clock.monotonic(), self._timestamp()))

    async def _publish(self, actions: Iterable[cloud.Action]) -> None:
        for action in actions:
            if isinstance(action, cloud.Reported):
                self.reports += action.reports
                verdicts = [Verdict(report.uid, action.epoch, report.seq, messages.OK) for report in action.reports]
                await self._publish(self.link.settle(action.node, verdicts, self._timestamp()))
            if isinstance(action, CredentialsAsked):
                self.asked.append(action)
                await self._publish(self._told(action))
            if isinstance(action, cloud.Asked):
                await self._publish(self.link.answer(action, self._timestamp()))
            if isinstance(action, Publish):
                await self._transport.publish(action.message)

    def _told(self, asked: CredentialsAsked) -> list[Publish]:
        code, reason, values = asked.code, asked.reason, {}
        match self.credentials.get(asked.uid):
            case dict(found) if code == messages.OK:
                values = found
            case (int(code), str(reason)):
                pass
            case None if code == messages.OK:
                return []
        told = CredentialsTold(asked.uid, asked.event_id, code, reason, values)
        return [self.link.tell(asked.node, told, self._timestamp())]

    def _timestamp(self) -> int:
        return int(self._clock.now().timestamp() * 1000)


@asynccontextmanager
async def running_cloud(transport: Transport, topics: Topics, *, epoch: int = 1) -> AsyncIterator[Cloud]:
    side = Cloud(transport, topics, epoch=epoch)
    task = asyncio.create_task(side.run())
    try:
        yield side
    finally:
        task.cancel()
        await asyncio.wait({task})
        await transport.close()


@asynccontextmanager
async def running_agent(transport: Transport, settings: AgentSettings) -> AsyncIterator[Agent]:
    """Run an agent and stop it as SIGTERM would."""
    agent, stop = Agent(settings, transport), asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        yield agent
    finally:
        stop.set()
        async with asyncio.timeout(SECONDS):
            await task


def settings(folder: Path, **values: object) -> AgentSettings:
    """Return settings of an agent that reads below `folder`/data and is quick."""
    data = folder / "data"
    data.mkdir(exist_ok=True)
    known: dict[str, object] = {"poll_seconds": 0.2, "interval_seconds": 0.05, "roots": (str(data),), **values}
    return AgentSettings(node=NODE, state_dir=folder / "state", **known)  # type: ignore[arg-type]  # by keyword


class Sealed(MemoryTransport):
    """A connection that passes for one over TLS."""

    @property
    def is_encrypted(self) -> bool:
        return True


def sealed(broker: BrokerCore, client_id: str) -> Sealed:
    return Sealed(broker, client_id, retry=QUICKLY)


def memory(broker: BrokerCore, client_id: str) -> MemoryTransport:
    return MemoryTransport(broker, client_id, retry=QUICKLY)
