"""The broker and the network before it, with all their bad habits.

The broker is `transport.broker.BrokerCore`. What is added: a message takes time on its way in, may come never, twice or
after later ones; a client may be cut off at once, or without anybody noticing; a dead client's connection lingers.
Invariant: in calm weather messages of one client arrive soon, each once and in order.
Neighbours: `world` makes clients on it and kills them, `schedule` makes the weather.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from random import Random

from neptune.clock import Clock
from neptune.testing.simulation.loop import Process, current_process
from neptune.transport.base import Published
from neptune.transport.broker import BrokerCore, Member
from neptune.transport.broker_types import (
    Action,
    BrokerStopped,
    Delivery,
    Ended,
    Limits,
    Overflow,
    Peer,
    Publication,
    Sink,
)

_WAY_SECONDS = 0.005
#: A broker takes a client for lost after one and a half keepalives (MQTT 5, 3.1.2.10).
LINGER_SECONDS = 90.0


@dataclass(slots=True)
class Weather:
    """How messages fare: the shares that come never and twice, and how late the late ones are (seconds)."""

    loss: float = 0.0
    twice: float = 0.0
    late: float = 0.0
    late_seconds: float = 5.0


@dataclass(eq=False, slots=True)
class _Wire(Sink):
    """One connection. Cut at the client's end, it carries nothing, and the client hears no more of it."""

    client_id: str
    inner: Sink
    process: Process | None
    last_at: float = 0.0
    is_cut: bool = False
    #: Nothing passes in either direction, and neither side knows.
    is_black_hole: bool = False

    def deliver(self, delivery: Delivery) -> None:
        if not (self.is_cut or self.is_black_hole):
            self.inner.deliver(delivery)

    def end(self, reason: Ended) -> None:
        if not self.is_cut:
            self.inner.end(reason)


class Network(BrokerCore):
    """Clients connect here as they would to the broker."""

    def __init__(
        self, clock: Clock, rng: Random, *, limits: Limits | None = None, overflow: Overflow = Overflow.NEWEST,
        silent_deny: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(clock=clock, authorize=self._allows, limits=limits, overflow=overflow, silent_deny=silent_deny)
        self.weather = Weather()
        #: Called with who publishes what, at the moment when that leaves the client.
        self.on_publish: Callable[[str, Publication], None] = lambda client_id, publication: None
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._outside = Context()
        self._wires: dict[Member, _Wire] = {}
        self._unreachable: dict[str, None] = {}
        self._denied: dict[str, Action] = {}

    def connect(
        self, peer: Peer, sink: Sink, *, will: Publication | None = None, receive_maximum: int | None = None,
        merge: bool = False,
    ) -> Member:  # fmt: skip
        """See `BrokerCore.connect`; a client that is cut off does not get through."""
        if peer.client_id in self._unreachable:
            raise BrokerStopped("the broker cannot be reached")
        wire = _Wire(peer.client_id, sink, current_process())
        member = super().connect(peer, wire, will=will, receive_maximum=receive_maximum, merge=merge)
        self._wires[member] = wire
        return member

    def publish(self, member: Member, publication: Publication) -> Published:
        """Send a message on its way. What becomes of it the client does not learn."""
        wire = self._wires[member]
        if wire.is_cut or not member.alive:
            return Published.DISCONNECTED
        self.on_publish(wire.client_id, publication)
        if wire.is_black_hole:
            return Published.DISCONNECTED
        for _ in range(self._copies()):
            self._loop.call_at(self._arrival(wire), self._arrive, member, publication, context=self._outside)
        return Published.ACCEPTED

    def disconnect(self, member: Member, *, publish_will: bool) -> None:
        """See `BrokerCore.disconnect`; of a client that is cut off the broker hears nothing."""
        wire = self._wires[member]
        if not (wire.is_cut or wire.is_black_hole):
            super().disconnect(member, publish_will=publish_will)

    def acknowledge(self, member: Member) -> None:
        """See `BrokerCore.acknowledge`."""
        if not self._wires[member].is_cut:
            super().acknowledge(member)

    def abandon(self, process: Process, seconds: float) -> None:
        """A client's process is dead: the broker notices, and publishes the will, after so many seconds."""
        for member, wire in self._wires.items():
            if member.alive and wire.process is process:
                wire.is_cut = True
                self._later(seconds, self._drop, member)

    def partition(self, client_id: str, *, noticed_after: float) -> None:
        """Cut a client off until `reunite`; both sides notice after so many seconds."""
        self._unreachable[client_id] = None
        for member, wire in self._wires.items():
            if member.alive and wire.client_id == client_id:
                wire.is_black_hole = True
                self._later(noticed_after, self._drop, member)

    def reunite(self, client_id: str) -> None:
        """Let a client connect again."""
        self._unreachable.pop(client_id, None)

    def deny(self, client_id: str, action: Action) -> None:
        """Refuse to take the client's messages, or to hand it any; in silence where the broker does that."""
        self._denied[client_id] = action

    def calm(self) -> None:
        """End all bad weather."""
        self.weather = Weather()
        self._unreachable.clear()
        self._denied.clear()
        self.start()

    def inject(self, publication: Publication) -> None:
        """Publish as somebody else on an open broker may."""
        self._route(
            Member(Peer("stranger", None), _Wire("stranger", _Nobody(), None), None, 1, merge=False), publication
        )

    def _allows(self, peer: Peer, action: Action, _topic: str) -> bool:
        return self._denied.get(peer.client_id) is not action

    def _copies(self) -> int:
        weather, chance = self.weather, self._rng.random()
        if chance < weather.loss:
            return 0
        return 2 if chance < weather.loss + weather.twice else 1

    def _arrival(self, wire: _Wire) -> float:
        now, weather = self._loop.time(), self.weather
        if weather.late and self._rng.random() < weather.late:
            return now + weather.late_seconds * self._rng.random()
        wire.last_at = max(wire.last_at + 1e-6, now + _WAY_SECONDS)
        return wire.last_at

    def _arrive(self, member: Member, publication: Publication) -> None:
        super().publish(member, publication)

    def _later(self, seconds: float, action: Callable[[Member], None], member: Member) -> None:
        self._loop.call_at(self._loop.time() + seconds, action, member, context=self._outside)

    def _drop(self, member: Member) -> None:
        if member.alive:
            self._end(member, Ended.LOST)


class _Nobody:
    def deliver(self, delivery: Delivery) -> None:
        """Take nothing."""

    def end(self, reason: Ended) -> None:
        """Hear nothing."""
