"""Programs on the node beside a running agent: on a broker of its own, and on the link's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from neptune.edge.agent import Agent
from neptune.edge.localside import MAX_WAITING, LocalSide
from neptune.protocol.topics import DEFAULT_PREFIX, Topics
from neptune.transport import Message, Received, Session, Transport
from neptune.transport.broker import BrokerCore
from tests.edge.bench import SECONDS, Cloud, dataset, eventually, memory, running_cloud, settings
from tests.edge.tasks.bench import model, task, work
from tests.support.transports import closing, connect, until

TOPIC = f"{DEFAULT_PREFIX}/dataset/default/name-of-u1"


@asynccontextmanager
async def running(link: Transport, side: LocalSide, folder: Path) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Agent(settings(folder), link, local=side).run(stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(SECONDS):
            await task


class Program:
    """A program on the node."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def ask(self) -> dict[str, Any]:
        await self._transport.publish(Message(f"{TOPIC}/get", b'{"event_id":"mine"}'))
        return await self.hear("get/result")

    async def hear(self, verb: str) -> dict[str, Any]:
        found = await until(self._transport, Received, lambda event: event.topic == f"{TOPIC}/{verb}")
        body: dict[str, Any] = json.loads(found.payload)
        return body

    async def hear_samples(self, samples: int) -> dict[str, Any]:
        while True:
            told = await self.hear("updated")
            current = told["dataset"]["current"]
            if current and current.get("status", {}).get("numberOfSamples") == samples:
                return told


@pytest.fixture(params=["own", "shared"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Cloud, Program]]:
    """A cloud, an agent with a local side, and a program, on one broker or two."""
    core, side = BrokerCore(), LocalSide(DEFAULT_PREFIX)
    local = BrokerCore() if request.param == "own" else core
    program, link = memory(local, "program"), memory(core, "edge0")
    async with running_cloud(memory(core, "cloud"), Topics()) as cloud, closing(program):
        await connect(program, Session((f"{DEFAULT_PREFIX}/dataset/#",)))
        if request.param == "own":
            async with side.on_own_broker(memory(local, "agent")), running(link, side, tmp_path):
                yield cloud, Program(program)
        else:
            async with side.on_shared_broker(link) as tapped, running(tapped, side, tmp_path):
                yield cloud, Program(program)


async def test_a_program_hears_of_a_dataset_and_its_number_and_may_ask(
    world: tuple[Cloud, Program], tmp_path: Path
) -> None:
    cloud, program = world
    file = tmp_path / "data" / "a.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text("1\n2\n")
    cloud.objects["u1"] = dataset(str(file))
    await cloud.put(cloud.objects["u1"])
    assert (await program.hear("updated"))["dataset"]["last"] is None
    await program.hear_samples(2)
    with file.open("a") as more:
        more.write("3\n")
    told = (await program.hear_samples(3))["dataset"]
    assert told["current"]["spec"]["url"] == str(file)
    answer = await program.ask()
    assert (answer["event_id"], answer["dataset"]) == ("mine", told["current"])
    await cloud.delete("u1")
    assert (await program.hear("updated"))["dataset"]["current"] is None


async def test_a_program_hears_of_the_model_that_rides_along_with_a_task(tmp_path: Path) -> None:
    core, side = BrokerCore(), LocalSide(DEFAULT_PREFIX)
    program, link = memory(core, "program"), memory(core, "edge0")
    async with (
        running_cloud(memory(core, "cloud"), Topics()) as cloud,
        closing(program),
        side.on_shared_broker(link) as tapped,
        running(tapped, side, tmp_path),
    ):
        await connect(program, Session((f"{DEFAULT_PREFIX}/#",)))
        await cloud.put(task(datasets=[]), model())
        topic = f"{DEFAULT_PREFIX}/model/shop/m"
        told = json.loads((await until(program, Received, lambda event: event.topic == f"{topic}/updated")).payload)
        assert told["model"]["last"] is None
        assert told["model"]["current"]["spec"] == {"url": "s3://models/m", "format": "npz"}
        await program.publish(Message(f"{topic}/get", b'{"event_id":"mine"}'))
        answer = json.loads(
            (await until(program, Received, lambda event: event.topic == f"{topic}/get/result")).payload
        )
        assert answer["model"] == told["model"]["current"]
        await eventually(lambda: "waiting for a worker" in work(cloud).message)


async def test_nothing_that_a_program_publishes_changes_what_is_said(
    world: tuple[Cloud, Program], tmp_path: Path
) -> None:
    cloud, program = world
    cloud.objects["u1"] = dataset(str(tmp_path / "data" / "missing.txt"))
    await cloud.put(cloud.objects["u1"])
    await program.hear("updated")
    for verb in ("updated", "get/result"):
        await program._transport.publish(Message(f"{TOPIC}/{verb}", b'{"forged":true}'))
        assert await program.hear(verb) == {"forged": True}
    assert (await program.ask())["dataset"]["uid"] == "u1"


async def test_a_burst_costs_bounded_memory_and_the_newest_is_told() -> None:
    core, side = BrokerCore(), LocalSide(DEFAULT_PREFIX)
    program, link = memory(core, "program"), memory(core, "edge0")
    async with side.on_shared_broker(link) as tapped, closing(program, tapped):
        await connect(program, Session((f"{DEFAULT_PREFIX}/dataset/#",)))
        await connect(tapped, Session(()))
        for generation in range(10 * MAX_WAITING):
            side.stored(dataset("/x", generation=generation))
        told = [
            (await Program(program).hear("updated"))["dataset"]["current"]["generation"] for _ in range(MAX_WAITING)
        ]
    assert told == list(range(9 * MAX_WAITING, 10 * MAX_WAITING))
