"""Packets to bytes, for what a broker sends. No I/O, no state.

Neighbours: `packets` has the types; `connection` writes what these functions return.
"""

from __future__ import annotations

from collections.abc import Sequence

from neptune.embedded.mqtt.packets import Code, Connect, Packet, Property
from neptune.transport.broker_types import Delivery

PINGRESP = bytes((Packet.PINGRESP << 4, 0))
_SUBACK_FAILURE = 0x80  # the one refusal that MQTT 3.1.1 has (its section 3.9.3)

_CONNACK_3 = {
    Code.SUCCESS: 0,
    Code.UNSUPPORTED_PROTOCOL_VERSION: 1,
    Code.CLIENT_IDENTIFIER_NOT_VALID: 2,
    Code.SERVER_UNAVAILABLE: 3,
    Code.BAD_USER_NAME_OR_PASSWORD: 4,
    Code.NOT_AUTHORIZED: 5,
}  # MQTT 3.1.1, 3.2.2.3


def _variable(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _packet(packet: Packet, body: bytes, flags: int = 0) -> bytes:
    return bytes((packet << 4 | flags,)) + _variable(len(body)) + body


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def connack(connect: Connect, code: Code, *, assigned_client_id: str | None, max_packet_bytes: int) -> bytes:
    """Return CONNACK (3.2). A session is never present; version 5 is told what this broker does not do."""
    if connect.version == 4:
        # A code that 3.1.1 does not know is told as `server unavailable`.
        return _packet(Packet.CONNACK, bytes((0, _CONNACK_3.get(code, 3))))
    properties = b""
    if code is Code.SUCCESS:
        properties = bytes((Property.MAXIMUM_QOS, 1, Property.SHARED_SUBSCRIPTION_AVAILABLE, 0))
        properties += bytes((Property.MAXIMUM_PACKET_SIZE,)) + max_packet_bytes.to_bytes(4, "big")
        if connect.session_expiry:
            properties += bytes((Property.SESSION_EXPIRY_INTERVAL, 0, 0, 0, 0))
        if assigned_client_id is not None:
            properties += bytes((Property.ASSIGNED_CLIENT_IDENTIFIER,)) + _text(assigned_client_id)
    return _packet(Packet.CONNACK, bytes((0, code)) + _variable(len(properties)) + properties)


def unsupported_version() -> bytes:
    """Return the refusal for a client of an unknown version, in the form that older ones understand."""
    return _packet(Packet.CONNACK, bytes((0, _CONNACK_3[Code.UNSUPPORTED_PROTOCOL_VERSION])))


def publish(delivery: Delivery, *, packet_id: int, version: int, now: float) -> bytes:
    """Return PUBLISH (3.3), with what is left of the message's time."""
    message = delivery.publication
    topic = message.topic.encode()
    parts = [len(topic).to_bytes(2, "big"), topic]
    if delivery.qos:
        parts.append(packet_id.to_bytes(2, "big"))
    if version == 5:
        properties = message.properties
        if delivery.expires_at is not None:
            left = max(int(delivery.expires_at - now), 0)
            properties += bytes((Property.MESSAGE_EXPIRY_INTERVAL,)) + left.to_bytes(4, "big")
        if delivery.identifier is not None:
            properties += bytes((Property.SUBSCRIPTION_IDENTIFIER,)) + _variable(delivery.identifier)
        parts.append(_variable(len(properties)))
        parts.append(properties)
    parts.append(message.payload)
    return _packet(Packet.PUBLISH, b"".join(parts), flags=delivery.qos << 1 | delivery.retain)


def puback(packet_id: int, code: Code, version: int) -> bytes:
    """Return PUBACK (3.4). Version 3.1.1 has no code: to it, all is well."""
    identifier = packet_id.to_bytes(2, "big")
    if version == 4 or code is Code.SUCCESS:
        return b"\x40\x02" + identifier
    return b"\x40\x03" + identifier + bytes((code,))


def suback(packet_id: int, codes: Sequence[int], version: int) -> bytes:
    """Return SUBACK (3.9)."""
    if version == 4:
        codes = [code if code < _SUBACK_FAILURE else _SUBACK_FAILURE for code in codes]
    return _acknowledgement(Packet.SUBACK, packet_id, bytes(codes), version)


def unsuback(packet_id: int, codes: Sequence[int], version: int) -> bytes:
    """Return UNSUBACK (3.11), which has no codes in 3.1.1."""
    return _acknowledgement(Packet.UNSUBACK, packet_id, bytes(codes) if version == 5 else b"", version)


def _acknowledgement(packet: Packet, packet_id: int, codes: bytes, version: int) -> bytes:
    no_properties = b"\0" if version == 5 else b""
    return _packet(packet, packet_id.to_bytes(2, "big") + no_properties + codes)


def disconnect(code: Code) -> bytes:
    """Return DISCONNECT (3.14) from the broker, which version 5 alone has."""
    return _packet(Packet.DISCONNECT, bytes((code,)))
