"""The simulated network in calm and in bad weather."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from neptune.testing.simulation.loop import VirtualClock, run
from neptune.testing.simulation.network import Network, Weather
from neptune.transport import Connected, Disconnected, Message, Received, Session
from neptune.transport.memory import MemoryTransport

NUMBERS = [f"{number}".encode() for number in range(50)]
Scene = Callable[[Network, MemoryTransport, MemoryTransport], Awaitable[None]]


def play(scene: Scene) -> None:
    """Run a scene with a sender and a receiver of topic `t` on one network."""

    async def program() -> None:
        network = Network(VirtualClock(asyncio.get_running_loop()), Random(1))  # noqa: S311  # a schedule, no secret
        sender, receiver = (MemoryTransport(network, name, rng=Random(2)) for name in ("sender", "receiver"))  # noqa: S311
        await sender.open(Session(()))
        await receiver.open(Session(("t",)))
        for each in (sender, receiver):
            assert isinstance(await each.next_event(), Connected)
        await scene(network, sender, receiver)
        for each in (sender, receiver):
            await each.close()

    run(program())


async def send(sender: MemoryTransport) -> None:
    for number in NUMBERS:
        await sender.publish(Message("t", number))
        await asyncio.sleep(0.01)


async def received(receiver: MemoryTransport, seconds: float = 100.0) -> list[bytes]:
    found: list[bytes] = []
    try:
        async with asyncio.timeout(seconds):
            while True:
                event = await receiver.next_event()
                if isinstance(event, Received):
                    found.append(event.payload)
    except TimeoutError:
        return found


def test_in_calm_weather_all_comes_once_and_in_order() -> None:
    async def scene(_: Network, sender: MemoryTransport, receiver: MemoryTransport) -> None:
        await send(sender)
        assert await received(receiver) == NUMBERS

    play(scene)


def test_in_bad_weather_messages_are_lost_doubled_and_overtaken() -> None:
    async def scene(network: Network, sender: MemoryTransport, receiver: MemoryTransport) -> None:
        network.weather = Weather(loss=0.2, twice=0.2, late=0.3)
        await send(sender)
        found = await received(receiver)
        assert set(found) < set(NUMBERS)
        assert len(found) > len(set(found))
        assert found != sorted(found, key=int)

    play(scene)


def test_who_is_cut_off_gets_nothing_learns_it_late_and_comes_back_when_reunited() -> None:
    async def scene(network: Network, sender: MemoryTransport, receiver: MemoryTransport) -> None:
        network.partition("receiver", noticed_after=60.0)
        await send(sender)
        assert await received(receiver, 50.0) == []
        assert isinstance(await receiver.next_event(), Disconnected)
        network.reunite("receiver")
        while not isinstance(await receiver.next_event(), Connected):
            pass
        await send(sender)
        assert await received(receiver) == NUMBERS

    play(scene)
