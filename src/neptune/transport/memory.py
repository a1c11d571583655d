"""The transport inside one process: the port on a `BrokerCore`, for tests, simulation and programs in one process.

Neighbours: `broker` is the broker; `inbox` holds the events; `retry` says how long to wait before the next attempt.
"""

from __future__ import annotations

import asyncio
from random import Random

from neptune.transport.base import (
    Connected,
    Disconnected,
    Event,
    Message,
    Published,
    Received,
    Session,
    TransportClosed,
    TransportError,
)
from neptune.transport.broker import BrokerCore, Member
from neptune.transport.broker_types import BrokerStopped, Delivery, Ended, Peer, Publication, Subscription
from neptune.transport.inbox import Inbox
from neptune.transport.retry import Retry, RetryPolicy
from neptune.transport.topics import check_filter, check_topic


class MemoryTransport:
    """Implements the port `neptune.transport.Transport` on a broker in the same process.

    A message counts as received for the broker when `next_event` returns it: a reader who is slow meets the broker's
    limits and, with them, its habit of dropping.
    """

    def __init__(
        self,
        broker: BrokerCore,
        client_id: str,
        *,
        username: str | None = None,
        retry: RetryPolicy | None = None,
        rng: Random | None = None,
    ) -> None:
        """Start nothing yet; see `MqttTransport` for `retry` and `rng`."""
        self._broker = broker
        self._peer = Peer(client_id, username)
        self._retry = Retry(retry or RetryPolicy(), rng or Random())  # noqa: S311 - jitter, no secret
        self._inbox = Inbox()
        self._number = 0
        self._member: Member | None = None
        self._runner: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def dropped(self) -> int:
        """See `Transport.dropped`."""
        return self._inbox.dropped

    @property
    def is_encrypted(self) -> bool:
        """See `Transport.is_encrypted`: what passes here may go on to peers on a plain connection."""
        return False

    async def open(self, session: Session) -> None:
        """See `Transport.open`.

        Raises:
            TransportClosed: after `close`.
            TransportError: it is open already.
            ValueError: a filter of `session` is malformed.
        """
        if self._closed:
            raise TransportClosed("the transport is closed")
        if self._runner is not None:
            raise TransportError("the transport is open already: make a new one for another session")
        for topic_filter in session.filters:
            check_filter(topic_filter)
        name = f"memory-{self._peer.client_id}"
        self._runner = asyncio.get_running_loop().create_task(self._run(session), name=name)
        self._inbox.watch(self._runner)

    async def next_event(self) -> Event:
        """See `Transport.next_event`."""
        event = await self._inbox.get()
        if isinstance(event, Received) and event.connection == self._number and self._member is not None:
            self._broker.acknowledge(self._member)
        return event

    async def publish(self, message: Message) -> Published:
        """See `Transport.publish`.

        Raises:
            ValueError: the topic is none that a message can be published to.
        """
        check_topic(message.topic)
        if self._member is None or not self._member.alive:
            return Published.DISCONNECTED
        return self._broker.publish(self._member, _publication(message))

    async def close(self, farewell: Message | None = None) -> None:
        """See `Transport.close`."""
        if self._closed:
            return
        self._closed = True
        self._inbox.close()
        if self._member is not None:
            if farewell is not None:
                self._broker.publish(self._member, _publication(farewell))
            self._broker.disconnect(self._member, publish_will=False)
            self._member = None
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})

    async def _run(self, session: Session) -> None:
        loop = asyncio.get_running_loop()
        while True:
            since, up = loop.time(), 0.0
            try:
                ended = self._connect(session)
                reason = f"broker in this process: {(await ended).value}"
                up = loop.time() - since
            except (BrokerStopped, TransportError) as error:
                reason = str(error)
            self._member = None
            retry_seconds = self._retry.after(connected_seconds=up)
            self._inbox.put(Disconnected(reason, retry_seconds))
            await asyncio.sleep(retry_seconds)

    def _connect(self, session: Session) -> asyncio.Future[Ended]:
        number = self._number + 1
        sink = _Sink(self._inbox, number)
        will = _publication(session.will(number)) if session.will else None
        member = self._broker.connect(self._peer, sink, will=will)
        self._number = number
        grants = self._broker.subscribe(member, [Subscription(f) for f in dict.fromkeys(session.filters)])
        refused = [grant.subscription.topic_filter for grant in grants if grant.qos is None]
        if refused:
            self._broker.disconnect(member, publish_will=False)
            raise TransportError(f"broker in this process refused to subscribe {', '.join(refused)}: check its ACL")
        self._member = member
        self._inbox.put(Connected(number))
        self._broker.replay(member, grants)
        return sink.ended


class _Sink:
    """Puts what the broker delivers on connection `number` into the inbox."""

    def __init__(self, inbox: Inbox, number: int) -> None:
        self._inbox = inbox
        self._number = number
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def deliver(self, delivery: Delivery) -> None:
        message = delivery.publication
        self._inbox.put(Received(message.topic, message.payload, delivery.retain, self._number))

    def end(self, reason: Ended) -> None:
        self.ended.set_result(reason)


def _publication(message: Message) -> Publication:
    return Publication(message.topic, message.payload, retain=message.retain, expiry_seconds=message.expiry_seconds)
