"""The transport port: what the link needs from a broker, and how little of it the link may trust.

Guarantees: none about delivery. A published message may arrive never, once, twice or late; messages may overtake
each other; a broker may acknowledge and then drop. What a transport does promise is its own honesty: it tells when a
connection begins and ends, it never blocks for ever, and its memory is bounded.
Neighbours: adapters (`memory`, `mqtt`) implement it; `edge.agent` and `controllers.app` drive it; what is said over
it, and every guarantee, is `neptune.protocol`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from neptune.errors import NeptuneError


class TransportError(NeptuneError):
    """The way to the broker failed; the text says where and what to check."""


class TransportClosed(TransportError):
    """The transport was closed; nothing more will come or go."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to publish.

    `retain` asks the broker to keep it for later subscribers (MQTT 5, 3.3.1.3). Quality of service is always 1.
    `expiry_seconds` lets a broker that knows MQTT 5 drop it when it is older (3.3.2.3.3).
    """

    topic: str
    payload: bytes
    retain: bool = False
    expiry_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """A message that arrived on connection number `connection`.

    `retained` is set when the broker replayed it at subscription.
    """

    topic: str
    payload: bytes
    retained: bool
    connection: int


@dataclass(frozen=True, slots=True)
class Connected:
    """Connection number `connection` (1, 2, 3...) is up, and the broker granted every filter of the session."""

    connection: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection ended or an attempt failed; the transport tries again by itself.

    `reason` is for a person: it names the broker's address and what to check. `retry_seconds` is the wait before
    the next attempt.
    """

    reason: str
    retry_seconds: float


Event = Received | Connected | Disconnected


class Published(Enum):
    """What became of a publish. A hint: even ACCEPTED does not mean that anybody received it."""

    ACCEPTED = "accepted"
    NO_RECEIVER = "no receiver"
    DENIED = "denied"
    QUEUE_FULL = "queue full"
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, slots=True)
class Session:
    """What a peer wants on each connection.

    `filters` are subscribed before `Connected` is told. `will` is asked anew for each connection, with its number:
    the broker publishes the answer when that connection breaks without a goodbye.
    """

    filters: tuple[str, ...]
    will: Callable[[int], Message] | None = None


class Transport(Protocol):
    """A connection to a broker that heals itself. Used from one event loop."""

    @property
    def is_encrypted(self) -> bool:
        """Whether every connection is encrypted, to a broker whose certificate is checked."""
        ...

    async def open(self, session: Session) -> None:
        """Start connecting and return at once; `next_event` tells what happens. At most once a transport."""
        ...

    async def next_event(self) -> Event:
        """Wait for the next event, in the order in which they happened.

        Received messages wait in a bounded queue; when it is full the oldest is dropped and counted.

        Raises:
            TransportClosed: after `close`.
        """
        ...

    async def publish(self, message: Message) -> Published:
        """Hand one message to the broker and wait for its acknowledgement, ten seconds at most.

        Never raises for the network's sake: without a connection the answer is DISCONNECTED and the message is gone.
        """
        ...

    @property
    def dropped(self) -> int:
        """Messages that were received and dropped since the start: too large, or nobody took them in time."""
        ...

    async def close(self, farewell: Message | None = None) -> None:
        """Publish `farewell` where connected, disconnect without triggering the will, and free everything.

        Idempotent; takes three seconds at most.
        """
        ...
