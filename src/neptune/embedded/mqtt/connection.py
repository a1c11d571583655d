"""One client's connection: MQTT 3.1.1 or 5 on one side, the broker's logic on the other.

Invariant: a client can harm its own connection only. What it sends wrong closes this connection; what it does not
read waits in the core's bounded queue; what it does not say in time ends it.
Neighbours: `decode` and `encode` do the bytes; `transport.broker.BrokerCore` decides; `embedded.broker` listens.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

from neptune.embedded.mqtt import decode, encode
from neptune.embedded.mqtt.packets import Code, Connect, Packet, PacketError
from neptune.log import get_logger
from neptune.transport.base import Published
from neptune.transport.broker import BrokerCore, Member
from neptune.transport.broker_types import BrokerStopped, Delivery, Ended, Peer

CONNECT_SECONDS = 10.0  # from the first byte of TCP to CONNECT
_GOODBYE_SECONDS = 1.0  # for the last packet to leave before the connection is cut
_MAX_OWED_BYTES = 256 * 2**10  # of answers to a client that goes on asking and does not read

_log = get_logger()

_CODES = {Published.NO_RECEIVER: Code.NO_MATCHING_SUBSCRIBERS, Published.DENIED: Code.NOT_AUTHORIZED}
_ENDINGS = {Ended.TAKEN_OVER: Code.SESSION_TAKEN_OVER, Ended.STOPPED: Code.SERVER_SHUTTING_DOWN}


class Credentials(NamedTuple):
    """What a client says about itself in CONNECT."""

    client_id: str
    username: str | None
    password: bytes | None


Authenticate = Callable[[Credentials], bool]


@dataclass(frozen=True, slots=True)
class Service:
    """What all connections of one broker share."""

    core: BrokerCore
    authenticate: Authenticate | None
    max_packet_bytes: int
    max_connections: int
    connections: set[Connection]


class Connection(asyncio.Protocol):
    """Speaks MQTT with one client, and is the core's sink for it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._core = service.core
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._output: list[bytes] = []
        self._member: Member | None = None
        self._version = 4
        self._keepalive_seconds = 0.0
        self._max_packet_bytes: int | None = None
        self._heard_at = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._closing = False
        self._paused = False
        self._owed_bytes = 0
        self._last_packet_id = 0
        self._in_flight: set[int] = set()
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._service.connections.add(self)
        if len(self._service.connections) > self._service.max_connections:
            self.abort()
            return
        self._watch_by(CONNECT_SECONDS, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._stop_watch()
        self._service.connections.discard(self)
        if self._member is not None:
            self._core.disconnect(self._member, publish_will=True)
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        self._buffer += data
        try:
            self._read_packets()
        except PacketError as error:
            _log.warning("mqtt client sent what it may not", client_id=self._client_id, reason=str(error))
            self._close(error.code)

    def pause_writing(self) -> None:
        self._paused = True
        self._owed_bytes = 0
        if self._member is not None:
            self._core.pause(self._member)

    def resume_writing(self) -> None:
        self._paused = False
        if self._member is not None and self._member.alive:
            self._core.resume(self._member)

    # Called by the core, whose sink this is.

    def deliver(self, delivery: Delivery) -> None:
        packet_id = self._next_packet_id() if delivery.qos else 0
        packet = encode.publish(delivery, packet_id=packet_id, version=self._version, now=self._core.now())
        if self._max_packet_bytes is not None and len(packet) > self._max_packet_bytes:
            # The client would have to close the connection; for it, the message counts as received (3.1.2.11.4).
            self._loop.call_soon(self._acknowledge, packet_id)
        else:
            self._write(packet)

    def end(self, reason: Ended) -> None:
        if reason is Ended.LOST:
            self.abort()
        else:
            self._close(_ENDINGS[reason])

    # Called by the broker that listens.

    def abort(self) -> None:
        """Cut the connection."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def shut(self) -> None:
        """Send what is waiting, then close; whoever does not take it is cut off."""
        if self._closing or self._transport is None:
            return
        self._closing = True
        self._flush()
        self._transport.close()
        self._watch_by(_GOODBYE_SECONDS, self._transport.abort)

    # Packets in.

    def _read_packets(self) -> None:
        buffer, start = self._buffer, 0
        try:
            while not self._closing:
                header = self._read_header(buffer, start)
                if header is None:
                    break
                body_start, end = header
                if end > len(buffer):
                    break
                first, body = buffer[start], bytes(buffer[body_start:end])
                start = end
                self._handle(first >> 4, first & 15, body)
        finally:
            del buffer[:start]

    def _read_header(self, buffer: bytearray, start: int) -> tuple[int, int] | None:
        """Return where the packet's body starts and ends, or None while its length is not there yet (2.1.4)."""
        length = 0
        for index in range(4):
            position = start + 1 + index
            if position >= len(buffer):
                return None
            byte = buffer[position]
            length |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                end = position + 1 + length
                if end - start > self._service.max_packet_bytes:
                    raise PacketError(Code.PACKET_TOO_LARGE, f"a packet of {end - start} bytes")
                return position + 1, end
        raise PacketError(Code.MALFORMED_PACKET, "a length of more than four bytes (2.1.4)")

    def _handle(self, packet: int, flags: int, body: bytes) -> None:
        member = self._member
        if member is None:
            if packet != Packet.CONNECT:
                raise PacketError(Code.PROTOCOL_ERROR, "the first packet must be CONNECT (3.1)")
            self._on_connect(flags, body)
            return
        match packet:
            case Packet.PUBLISH:
                self._on_publish(member, flags, body)
            case Packet.PUBACK:
                self._acknowledge(decode.decode_puback(flags, body, self._version))
            case Packet.SUBSCRIBE:
                self._on_subscribe(member, flags, body)
            case Packet.UNSUBSCRIBE:
                self._on_unsubscribe(member, flags, body)
            case Packet.PINGREQ:
                decode.decode_empty(flags, body)
                self._write(encode.PINGRESP)
            case Packet.DISCONNECT:
                self._on_disconnect(member, flags, body)
            case _:
                raise PacketError(Code.PROTOCOL_ERROR, f"packet type {packet} is not for a broker, or not now")

    def _on_connect(self, flags: int, body: bytes) -> None:
        try:
            connect = decode.decode_connect(flags, body)
        except PacketError as error:
            if error.code is Code.UNSUPPORTED_PROTOCOL_VERSION:
                self._write(encode.unsupported_version())
            raise
        assigned = None if connect.client_id else f"auto-{uuid.uuid4().hex}"
        code = self._admit(connect, assigned or connect.client_id)
        answer = encode.connack(
            connect, code, assigned_client_id=assigned, max_packet_bytes=self._service.max_packet_bytes
        )
        self._write(answer)
        if code is not Code.SUCCESS:
            _log.warning("mqtt client refused", client_id=connect.client_id, reason=code.name)
            self.shut()

    def _admit(self, connect: Connect, client_id: str) -> Code:
        if connect.authentication_method:
            return Code.BAD_AUTHENTICATION_METHOD
        if connect.will is not None and connect.will.qos > 1 and connect.version == 5:
            return Code.QOS_NOT_SUPPORTED  # 3.2.2.3.4; 3.1.1 has no word for it, and gets less than it asked for
        if connect.version == 4 and not (connect.client_id or connect.clean_start):
            return Code.CLIENT_IDENTIFIER_NOT_VALID  # MQTT 3.1.1, 3.1.3.1
        authenticate = self._service.authenticate
        if authenticate and not authenticate(Credentials(client_id, connect.username, connect.password)):
            return Code.NOT_AUTHORIZED if connect.username is None else Code.BAD_USER_NAME_OR_PASSWORD
        self._version = connect.version
        self._max_packet_bytes = connect.maximum_packet_size
        try:
            self._member = self._core.connect(
                Peer(client_id, connect.username),
                self,
                will=connect.will,
                receive_maximum=connect.receive_maximum,
                merge=connect.version == 4,
            )
        except BrokerStopped:
            return Code.SERVER_UNAVAILABLE
        self._stop_watch()
        if connect.keepalive_seconds:
            self._keepalive_seconds = 1.5 * connect.keepalive_seconds  # 3.1.2.10
            self._watch_silence()
        return Code.SUCCESS

    def _on_publish(self, member: Member, flags: int, body: bytes) -> None:
        publication, packet_id = decode.decode_publish(flags, body, self._version)
        outcome = self._core.publish(member, publication)
        if packet_id:
            self._write(encode.puback(packet_id, _CODES.get(outcome, Code.SUCCESS), self._version))

    def _on_subscribe(self, member: Member, flags: int, body: bytes) -> None:
        packet_id, wanted = decode.decode_subscribe(flags, body, self._version)
        answers: list[int] = []
        granted = []
        for subscription in wanted:
            if isinstance(subscription, Code):
                answers.append(subscription)
                continue
            grant = self._core.subscribe(member, [subscription])[0]
            granted.append(grant)
            answers.append(Code.NOT_AUTHORIZED if grant.qos is None else grant.qos)
        self._write(encode.suback(packet_id, answers, self._version))
        self._core.replay(member, granted)

    def _on_unsubscribe(self, member: Member, flags: int, body: bytes) -> None:
        packet_id, filters = decode.decode_unsubscribe(flags, body, self._version)
        existed = self._core.unsubscribe(member, filters)
        codes = [Code.SUCCESS if there else Code.NO_SUBSCRIPTION_EXISTED for there in existed]
        self._write(encode.unsuback(packet_id, codes, self._version))

    def _on_disconnect(self, member: Member, flags: int, body: bytes) -> None:
        code = decode.decode_disconnect(flags, body, self._version)
        # Any reason but success is for the will to be published (3.1.2.5); 4 says so in its name.
        self._core.disconnect(member, publish_will=code != Code.SUCCESS)
        self.shut()

    def _acknowledge(self, packet_id: int) -> None:
        if packet_id in self._in_flight and self._member is not None:
            self._in_flight.discard(packet_id)
            self._core.acknowledge(self._member)

    def _next_packet_id(self) -> int:
        # Fewer are in flight than there are identifiers, so that this ends.
        while True:
            self._last_packet_id = self._last_packet_id % 65_535 + 1
            if self._last_packet_id not in self._in_flight:
                self._in_flight.add(self._last_packet_id)
                return self._last_packet_id

    # Packets out, and the end.

    @property
    def _client_id(self) -> str | None:
        return None if self._member is None else self._member.peer.client_id

    def _write(self, packet: bytes) -> None:
        """Send `packet` with all others of this step of the event loop: one system call for many."""
        if self._paused:
            self._owed_bytes += len(packet)
            if self._owed_bytes > _MAX_OWED_BYTES:
                _log.warning("mqtt client does not read its answers", client_id=self._client_id)
                self.abort()
        self._output.append(packet)
        if len(self._output) == 1:
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._transport is not None and self._output and not self._transport.is_closing():
            self._transport.write(b"".join(self._output))
        self._output.clear()

    def _watch_silence(self) -> None:
        left = self._heard_at + self._keepalive_seconds - self._loop.time()
        if left > 0:
            self._watch_by(left, self._watch_silence)
        else:
            self._close(Code.KEEP_ALIVE_TIMEOUT)

    def _watch_by(self, seconds: float, function: Callable[[], object]) -> None:
        self._stop_watch()
        self._watch = self._loop.call_later(seconds, function)

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _close(self, code: Code) -> None:
        """End the connection from our side; version 5 is told why."""
        if self._version == 5 and not self._closing:
            self._write(encode.disconnect(code))
        self.shut()
