"""One connection to a broker by one paho client, made for it and thrown away with it. The only importer of paho.

Invariant: nothing of a connection outlives it. paho keeps messages that were not acknowledged, packet identifiers and
a reconnect loop of its own; a fresh client per connection is free of all three.
A thread of its own connects and then runs paho's network loop; its callbacks do nothing but hand over to the event
loop, and none can raise: an exception in one would end the thread with `is_connected()` still true.
Neighbours: `mqtt.MqttTransport` makes connections one after the other.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from neptune.errors import SettingsError
from neptune.log import get_logger
from neptune.transport import _reasons
from neptune.transport._arrivals import Arrivals
from neptune.transport._sockets import TlsSocket
from neptune.transport.base import Message, Published, Received, TransportError
from neptune.transport.mqtt_settings import MqttSettings

MAX_IN_FLIGHT = 20  # publishes without PUBACK; mosquitto's max_inflight_messages. A broker may ask for fewer
_HEADER_BYTES = 32  # of a PUBLISH besides topic and payload, at most, with the one property that we send

_log = get_logger()
T = TypeVar("T")


def _guarded(callback: Callable[..., None]) -> Callable[..., None]:
    """Keep an exception in one of paho's callbacks from ending the network thread."""

    @functools.wraps(callback)
    def call(*arguments: Any) -> None:
        try:
            callback(*arguments)
        except Exception:  # noqa: BLE001 - it stops here: paho's thread has nobody above it
            _log.exception("mqtt callback failed", callback=callback.__name__)

    return call


class PahoConnection:
    """Connect once, subscribe, publish, end. Methods are called from the event loop."""

    def __init__(
        self,
        settings: MqttSettings,
        *,
        number: int,
        will: Message | None,
        deliver: Callable[[Received], None],
    ) -> None:
        """Prepare connection `number`; `establish` starts it. `deliver` is called on the event loop."""
        self.number = number
        self.reached_broker = False
        """Whether the broker may have seen our CONNECT, and with it our will."""
        self._settings = settings
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = self._loop.create_future()
        """Set with the reason, for a person, once the connection is over."""
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._subscribed: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._max_packet_bytes: int | None = None
        self._acknowledged = 0
        self._unacknowledged: dict[int, asyncio.Future[Published]] = {}
        self._arrived = Arrivals(limit=settings.max_queued_messages, limit_bytes=settings.max_queued_bytes)
        self._oversized = 0
        self._hand_over_scheduled = False
        self._asked_for: list[str] = []  # filters, while the broker owes its answer
        self._live = False
        self._aborted = False
        self._client = self._make_client(will)
        name = f"mqtt-{settings.client_id}-{number}"
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._started = False

    # Used by the transport, on the event loop.

    @property
    def dropped(self) -> int:
        """Messages that were larger than they may be, or arrived faster than the event loop took them."""
        return self._arrived.dropped + self._oversized

    async def establish(self, filters: Iterable[str]) -> None:
        """Connect, subscribe, and return once the broker granted each filter.

        Raises:
            TransportError: it did not work; the text says why, for a person.
        """
        self._thread.start()
        self._started = True
        await self._answer(self._connected, "CONNECT")
        wanted = list(dict.fromkeys(filters))
        if wanted:
            self._asked_for = wanted
            self._client.subscribe([(topic_filter, 1) for topic_filter in wanted])
            granted = await self._answer(self._subscribed, "SUBSCRIBE")
            self._asked_for = []
            if len(granted) != len(wanted):
                raise TransportError(f"{self._broker} answered {len(granted)} of {len(wanted)} filters in SUBACK")
            refused = {f: str(r) for f, r in zip(wanted, granted, strict=True) if r.is_failure}
            if refused:
                raise TransportError(_reasons.refused_subscribe(self._settings, refused))

    def go_live(self) -> None:
        """Deliver what arrived meanwhile, and from now on at once; allow `publish`."""
        self._live = True
        self._hand_over()

    async def publish(self, message: Message) -> Published:
        """Send `message` with quality 1 and wait for its PUBACK, `answer_seconds` at most."""
        if not self._live or self.ended.done():
            return Published.DISCONNECTED
        size = len(message.topic.encode()) + len(message.payload) + _HEADER_BYTES
        if self._max_packet_bytes is not None and size > self._max_packet_bytes:
            return Published.DENIED  # the broker would close the connection (MQTT 5, 3.2.2.3.6)
        deadline, acknowledged_before = self._loop.time() + self._settings.answer_seconds, self._acknowledged
        try:
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        except TimeoutError:
            if self._acknowledged > acknowledged_before:
                return Published.QUEUE_FULL  # others had their turn: much waits here, and the broker is well
            self._end(
                f"{self._broker} acknowledged no message within {self._settings.answer_seconds:g} s: is it overloaded?"
            )
            self.abort()
            return Published.DISCONNECTED
        try:
            acknowledged = self._send(message)
        except BaseException:
            self._slots.release()
            raise
        # The slot belongs to the message, not to this call: after a time-out the broker still has it in flight.
        acknowledged.add_done_callback(lambda _: self._slots.release())
        try:
            async with asyncio.timeout_at(deadline):
                return await asyncio.shield(acknowledged)
        except TimeoutError:
            return Published.DISCONNECTED

    async def finish(self, *, seconds: float) -> None:
        """Say goodbye, so that the broker forgets the will, and wait until the thread is gone."""
        if self.reached_broker:
            self._client.disconnect()
        else:
            self.abort()
        await self.wait_finished(seconds=seconds)
        self.abort()

    def abort(self) -> None:
        """Cut the connection; the network thread notices and ends."""
        self._aborted = True  # before the look at the socket: the thread looks the other way round
        if self._client.tcp is not None:
            with suppress(OSError):
                # Not SSLSocket.shutdown: it takes the TLS layer away from under the thread that reads.
                socket.socket.shutdown(self._client.tcp, socket.SHUT_RDWR)

    async def wait_finished(self, *, seconds: float | None = None) -> None:
        """Wait until the network thread is gone, `seconds` at most."""
        if self._started:
            await asyncio.wait({self._finished}, timeout=seconds)

    # On the event loop.

    async def _answer(self, future: asyncio.Future[T], packet: str) -> T:
        either: set[asyncio.Future[Any]] = {future, self.ended}
        await asyncio.wait(either, timeout=self._settings.answer_seconds, return_when=asyncio.FIRST_COMPLETED)
        if self.ended.done():
            raise TransportError(self.ended.result())
        if not future.done():
            raise TransportError(
                f"{self._broker} gave no answer to {packet} within {self._settings.answer_seconds:g} s"
            )
        return future.result()

    def _send(self, message: Message) -> asyncio.Future[Published]:
        acknowledged: asyncio.Future[Published] = self._loop.create_future()
        if self.ended.done():
            acknowledged.set_result(Published.DISCONNECTED)
            return acknowledged
        properties = self._expiry(PacketTypes.PUBLISH, message)
        info = self._client.publish(message.topic, message.payload, 1, message.retain, properties)
        if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            # No race with PUBACK: it comes by `call_soon_threadsafe`, after this step of the loop.
            self._unacknowledged[info.mid] = acknowledged
        else:
            acknowledged.set_result(Published.DISCONNECTED)
        return acknowledged

    def _end(self, reason: str) -> None:
        """Settle that the connection is over. The first reason stands: what follows is its consequence."""
        if self.ended.done():
            return
        self.ended.set_result(reason)
        for acknowledged in self._unacknowledged.values():
            acknowledged.set_result(Published.DISCONNECTED)
        self._unacknowledged.clear()

    def _accept(self, reason: ReasonCode, properties: Properties) -> None:
        if reason.is_failure:
            self._end(_reasons.refused_connect(self._settings, reason))
            return
        # paho 2.2 ignores both limits of the broker.
        limit = getattr(properties, "ReceiveMaximum", MAX_IN_FLIGHT)
        self._slots = asyncio.Semaphore(min(limit, MAX_IN_FLIGHT))
        self._max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        if not self._connected.done():
            self._connected.set_result(None)

    def _grant(self, reasons: list[ReasonCode]) -> None:
        if not self._subscribed.done():
            self._subscribed.set_result(reasons)

    def _acknowledge(self, mid: int, reason: ReasonCode) -> None:
        self._acknowledged += 1
        acknowledged = self._unacknowledged.pop(mid, None)
        if acknowledged is not None:
            acknowledged.set_result(_reasons.published(reason.value))

    def _hand_over(self) -> None:
        self._hand_over_scheduled = False
        while self._live and (message := self._arrived.take()) is not None:
            self._deliver(message)

    def _finish(self) -> None:
        self._close_sockets()
        self._end(f"connection to {self._broker} was closed")
        self._finished.set_result(None)

    def _close_sockets(self) -> None:
        # paho closes the pair of sockets that wakes its loop only in __del__, and our callbacks make a reference
        # cycle, so that this would wait for the garbage collector.
        self._client._reset_sockets()
        if self._client.tcp is not None:
            self._client.tcp.close()

    # On the network thread.

    def _work(self) -> None:
        settings = self._settings
        try:
            if settings.tls:
                self._client.tls_set_context(_tls_context(settings))
            if settings.protocol == 5:
                self._client.connect(
                    settings.host,
                    settings.port,
                    settings.keepalive_seconds,
                    clean_start=True,
                    properties=self._connect_properties(),
                )
            else:
                self._client.connect(settings.host, settings.port, settings.keepalive_seconds)
            while not self._aborted and self._client.loop() == MQTTErrorCode.MQTT_ERR_SUCCESS:
                pass
        except SettingsError as error:  # a TLS file went wrong since the start
            self._post(self._end, str(error))
        except (OSError, ValueError) as error:
            self._post(self._end, _reasons.unreachable(settings, error))
        except Exception as error:  # noqa: BLE001 - a fault in paho ends this connection, not the transport
            _log.exception("mqtt network thread failed", broker=settings.address)
            self._post(self._end, f"connection to {self._broker} failed inside the client: {error!r}")
        finally:
            self._post(self._finish)

    def _post(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:  # the event loop is closed: nobody is left to hear it, or to use the client
            self._close_sockets()

    def _on_socket_open(self, *_: Any) -> None:
        self.reached_broker = True

    def _on_connect(self, _c: Client, _u: Any, _f: Any, reason: ReasonCode, properties: Properties) -> None:
        self._post(self._accept, reason, properties)

    def _on_subscribe(self, _c: Client, _u: Any, _mid: int, reasons: list[ReasonCode], _p: Any) -> None:
        self._post(self._grant, reasons)

    def _on_publish(self, _c: Client, _u: Any, mid: int, reason: ReasonCode, _p: Any) -> None:
        self._post(self._acknowledge, mid, reason)

    def _on_message(self, _c: Client, _u: Any, message: MQTTMessage) -> None:
        if len(message.payload) > self._settings.max_packet_bytes:
            self._oversized += 1
            return
        self._arrived.put(Received(message.topic, bytes(message.payload), bool(message.retain), self.number))
        if not self._hand_over_scheduled:
            self._hand_over_scheduled = True
            self._post(self._hand_over)

    def _on_disconnect(self, _c: Client, _u: Any, flags: Any, reason: ReasonCode, properties: Any) -> None:
        alert = self._client.tcp.alert if isinstance(self._client.tcp, TlsSocket) else None
        if alert is not None and not self._connected.done():
            text = _reasons.unreachable(self._settings, alert)
        else:
            by_broker = flags.is_disconnect_packet_from_server
            detail = getattr(properties, "ReasonString", None)
            accepted = self._connected.done()
            text = _reasons.closed(self._settings, reason, accepted=accepted, by_broker=by_broker, text=detail)
        self._post(self._end, text + _reasons.prefix_hint(self._asked_for))

    # Making the client.

    @property
    def _broker(self) -> str:
        return f"broker {self._settings.address}"

    def _make_client(self, will: Message | None) -> _Client:
        settings = self._settings
        mqtt5 = settings.protocol == 5
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=settings.client_id,
            clean_session=None if mqtt5 else True,
            protocol=MQTTProtocolVersion.MQTTv5 if mqtt5 else MQTTProtocolVersion.MQTTv311,
            transport="websockets" if settings.websocket else "tcp",
            reconnect_on_failure=False,
        )
        client.ws_set_options(settings.path)
        client.max_inflight_messages_set(0)  # `_slots` bounds them: paho would queue the rest out of our sight
        client.username_pw_set(settings.username, settings.password)
        if will is not None:
            properties = self._expiry(PacketTypes.WILLMESSAGE, will)
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain, properties=properties)
        client.on_socket_open = _guarded(self._on_socket_open)
        # With this callback set, `publish` leaves writing to the thread in `loop`, as for an external event loop.
        client.on_socket_register_write = _guarded(lambda *_: None)
        client.on_connect = _guarded(self._on_connect)
        client.on_subscribe = _guarded(self._on_subscribe)
        client.on_publish = _guarded(self._on_publish)
        client.on_message = _guarded(self._on_message)
        client.on_disconnect = _guarded(self._on_disconnect)
        return client

    def _connect_properties(self) -> Properties:
        properties = _properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 0
        properties.MaximumPacketSize = self._settings.max_packet_bytes
        return properties

    def _expiry(self, packet: int, message: Message) -> Properties | None:
        if self._settings.protocol != 5 or message.expiry_seconds is None:
            return None
        properties = _properties(packet)
        properties.MessageExpiryInterval = message.expiry_seconds
        return properties


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves this constructor without types


class _Client(Client):
    """Knows its socket from the start: paho tells it only once TLS and WebSocket are through, or never."""

    tcp: socket.socket | None = None

    def _create_socket_connection(self) -> socket.socket:
        self.tcp = super()._create_socket_connection()
        # Else Nagle's algorithm holds what follows a PUBACK until the broker's delayed acknowledgement, 40 ms on Linux.
        self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.tcp

    def _sock_recv(self, bufsize: int) -> bytes:
        # Else a broker without `set_tcp_nodelay` waits for ours as long. The kernel forgets this; each receipt sets it.
        data = super()._sock_recv(bufsize)
        if self.tcp is not None and sys.platform == "linux":
            self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        self.tcp = wrapped = super()._ssl_wrap_socket(tcp_sock)
        return wrapped


def _tls_context(settings: MqttSettings) -> ssl.SSLContext:
    context = settings.tls_context()
    context.sslsocket_class = TlsSocket
    return context
