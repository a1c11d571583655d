"""The transport over MQTT 5 or 3.1.1: connections one after the other, each told from the last by its number.

Clean start and session expiry 0: the broker keeps nothing for us while we are away, and we keep nothing for it. What
must survive a break is the business of `neptune.protocol`.
The number of a connection goes up by one as soon as the broker may have seen our CONNECT, and thus its will: a number
never belongs to two wills, so numbers may be skipped.
Of several addresses each failure leads to the next. A connection that holds is kept, whichever address it has.
Neighbours: `_paho` is one connection; `retry` says how long to wait between them; `inbox` holds the events.
"""

from __future__ import annotations

import asyncio
import itertools
from random import Random

from neptune.log import get_logger
from neptune.transport._paho import PahoConnection
from neptune.transport.base import (
    Connected,
    Disconnected,
    Event,
    Message,
    Published,
    Session,
    TransportClosed,
    TransportError,
)
from neptune.transport.inbox import Inbox
from neptune.transport.mqtt_settings import MqttSettings
from neptune.transport.retry import Retry
from neptune.transport.topics import check_filter, check_topic

__all__ = ["MqttSettings", "MqttTransport"]

# Together below the three seconds that the port allows for `close`.
_FAREWELL_SECONDS = 1.5
_GOODBYE_SECONDS = 1.0

_log = get_logger()


class MqttTransport:
    """Implements the port `neptune.transport.Transport` by paho-mqtt."""

    def __init__(self, settings: MqttSettings, *, rng: Random | None = None) -> None:
        """Start nothing yet. `rng` spreads the retries; a seeded one makes them repeatable.

        Raises:
            SettingsError: a TLS file cannot be used. Later a file that went wrong is a reason to try again.
        """
        if settings.tls:
            settings.tls_context()
        self._settings = settings
        self._addresses = settings.each()
        # The latest failure at each address: told together, so that the reason stays the same while nothing changes.
        self._failures: dict[str, str] = {}
        self._retry = Retry(
            settings.retry,
            rng or Random(),  # noqa: S311 - jitter, no secret
            addresses=len(self._addresses),
        )
        self._inbox = Inbox(limit=settings.max_queued_messages, limit_bytes=settings.max_queued_bytes)
        self._number = 0
        self._connection: PahoConnection | None = None
        self._dropped_before = 0
        self._runner: asyncio.Task[None] | None = None
        self._closer: asyncio.Task[None] | None = None

    @property
    def is_encrypted(self) -> bool:
        """See `Transport.is_encrypted`: of several addresses all have to be."""
        return all(settings.tls for settings in self._addresses)

    @property
    def dropped(self) -> int:
        """See `Transport.dropped`."""
        current = self._connection.dropped if self._connection else 0
        return self._dropped_before + current + self._inbox.dropped

    async def open(self, session: Session) -> None:
        """See `Transport.open`.

        Raises:
            TransportClosed: after `close`.
            TransportError: it is open already.
            ValueError: a filter of `session` is malformed.
        """
        if self._closer is not None:
            raise TransportClosed("the transport is closed")
        if self._runner is not None:
            raise TransportError("the transport is open already: make a new one for another session")
        for topic_filter in session.filters:
            check_filter(topic_filter)
        name = f"mqtt-{self._settings.client_id}"
        self._runner = asyncio.get_running_loop().create_task(self._run(session), name=name)
        self._inbox.watch(self._runner)

    async def next_event(self) -> Event:
        """See `Transport.next_event`."""
        return await self._inbox.get()

    async def publish(self, message: Message) -> Published:
        """See `Transport.publish`.

        Raises:
            ValueError: the topic is none that a message can be published to.
        """
        check_topic(message.topic)
        if self._connection is None or self._closer is not None:
            return Published.DISCONNECTED
        return await self._connection.publish(message)

    async def close(self, farewell: Message | None = None) -> None:
        """See `Transport.close`."""
        if self._closer is None:
            self._closer = asyncio.get_running_loop().create_task(self._close(farewell))
        await asyncio.shield(self._closer)

    async def _close(self, farewell: Message | None) -> None:
        self._inbox.close()
        connection = self._connection
        if connection is not None:
            if farewell is not None:
                try:
                    async with asyncio.timeout(_FAREWELL_SECONDS):
                        await connection.publish(farewell)
                except TimeoutError:
                    _log.warning("farewell not acknowledged", broker=self._settings.address)
            await connection.finish(seconds=_GOODBYE_SECONDS)
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait({self._runner})

    async def _run(self, session: Session) -> None:
        for settings in itertools.cycle(self._addresses):
            number = self._number + 1
            will = session.will(number) if session.will else None
            connection = PahoConnection(settings, number=number, will=will, deliver=self._inbox.put)
            reason, connected_seconds = await self._run_connection(connection, session)
            if connection.reached_broker:
                self._number = number
            retry_seconds = self._retry.after(connected_seconds=connected_seconds)
            self._failures[settings.address] = reason
            self._inbox.put(Disconnected("; ".join(self._failures.values()), retry_seconds))
            await asyncio.sleep(retry_seconds)
            await connection.wait_finished()  # one network thread at a time, however long DNS takes

    async def _run_connection(self, connection: PahoConnection, session: Session) -> tuple[str, float]:
        """Run one connection to its end; return why it ended and how many seconds it was up."""
        loop = asyncio.get_running_loop()
        try:
            await connection.establish(session.filters)
            since = loop.time()
            self._failures.clear()
            self._connection = connection
            self._inbox.put(Connected(connection.number))
            connection.go_live()
            reason = await connection.ended
            return reason, loop.time() - since
        except TransportError as error:
            return str(error), 0.0
        finally:
            self._connection = None
            self._dropped_before += connection.dropped
            await connection.finish(seconds=_GOODBYE_SECONDS)
