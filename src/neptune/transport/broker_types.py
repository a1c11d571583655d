"""What a broker's logic and its fronts hand each other. Values and the sink's protocol only.

Neighbours: `broker` is the logic; `memory` and `neptune.embedded.mqtt` are the fronts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from neptune.errors import NeptuneError


class BrokerStopped(NeptuneError):
    """The broker takes no connections at the moment."""


class Action(Enum):
    """What a client wants to do with a topic (or, for SUBSCRIBE, with a filter)."""

    SUBSCRIBE = "subscribe"
    READ = "read"
    WRITE = "write"


class Ended(Enum):
    """Why the broker ended a connection."""

    TAKEN_OVER = "another client with the same id took over"
    STOPPED = "the broker stopped"
    LOST = "the connection was lost"


class Overflow(Enum):
    """What gives way when a client's queue is full."""

    NEWEST = "newest"
    """As mosquitto does, even after it has acknowledged the message to its publisher."""
    OLDEST = "oldest"
    """As EMQX does."""


class Peer(NamedTuple):
    """Who a client is to the access rules."""

    client_id: str
    username: str | None


Authorize = Callable[[Peer, Action, str], bool]


@dataclass(frozen=True, slots=True)
class Publication:
    """A message on its way through the broker. `properties` is passed on untouched (MQTT 5, 3.3.2.3)."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    expiry_seconds: int | None = None
    properties: bytes = b""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a client subscribes to, with the options of MQTT 5, 3.8.3.1."""

    topic_filter: str
    qos: int = 1
    no_local: bool = False
    retain_as_published: bool = False
    retain_handling: int = 0
    identifier: int | None = None


class Grant(NamedTuple):
    """The broker's answer to one subscription: its quality of service, or None when it is denied."""

    subscription: Subscription
    qos: int | None
    replay: bool


class Delivery(NamedTuple):
    """A message for one client. `expires_at` is in seconds of the broker's clock."""

    publication: Publication
    qos: int
    retain: bool
    identifier: int | None
    expires_at: float | None


class Sink(Protocol):
    """Where the broker puts what is for one client. Must not call back into the broker."""

    def deliver(self, delivery: Delivery) -> None:
        """Take a message. With quality 1 the front calls `BrokerCore.acknowledge` once it was received."""
        ...

    def end(self, reason: Ended) -> None:
        """Learn that the broker ended the connection. Nothing is delivered any more."""
        ...


class Limits(NamedTuple):
    """What one client may make the broker keep; mosquitto's defaults, and bounds where it has none.

    Two are for all clients together: past `retained` a message on a further topic is delivered and not kept; a network
    connection past `connections` is cut at once.
    """

    queue_messages: int = 1000
    queue_bytes: int = 16 * 2**20
    in_flight: int = 20
    filters: int = 10_000
    retained: int = 1_000_000
    connections: int = 10_000


class BrokerStatistics(NamedTuple):
    """Counts since the start; the first three are of now."""

    clients: int
    subscriptions: int
    retained: int
    received: int
    delivered: int
    dropped: int
