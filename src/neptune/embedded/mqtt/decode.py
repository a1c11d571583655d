"""Bytes to packets, for what clients send. No I/O, no state.

Own code because the one sans-I/O package found, `mqtt5`, knows version 5 only and needs a compiled wheel on each node.
Invariant: whatever the bytes, decoding returns a packet or raises `PacketError`.
Neighbours: `packets` has the types; `connection` calls this for each packet it has received whole.
"""

from __future__ import annotations

from neptune.embedded.mqtt.packets import (
    Code,
    Connect,
    PacketError,
    Property,
    Publish,
    Subscribe,
    Unsubscribe,
)
from neptune.transport.broker_types import Publication, Subscription
from neptune.transport.topics import check_filter, check_topic

_MESSAGE = {
    Property.PAYLOAD_FORMAT_INDICATOR,
    Property.CONTENT_TYPE,
    Property.RESPONSE_TOPIC,
    Property.CORRELATION_DATA,
    Property.USER_PROPERTY,
}  # travel with the message to its receivers, unchanged (3.3.2.3)
_IN_WILL = _MESSAGE | {Property.MESSAGE_EXPIRY_INTERVAL, Property.WILL_DELAY_INTERVAL}
_IN_PUBLISH = _MESSAGE | {Property.MESSAGE_EXPIRY_INTERVAL, Property.TOPIC_ALIAS}
_IN_CONNECT = {
    Property.SESSION_EXPIRY_INTERVAL,
    Property.RECEIVE_MAXIMUM,
    Property.MAXIMUM_PACKET_SIZE,
    Property.TOPIC_ALIAS_MAXIMUM,
    Property.REQUEST_RESPONSE_INFORMATION,
    Property.REQUEST_PROBLEM_INFORMATION,
    Property.USER_PROPERTY,
    Property.AUTHENTICATION_METHOD,
    Property.AUTHENTICATION_DATA,
}
_IN_SUBSCRIBE = {Property.SUBSCRIPTION_IDENTIFIER, Property.USER_PROPERTY}
_IN_UNSUBSCRIBE = {Property.USER_PROPERTY}
_IN_PUBACK = {Property.REASON_STRING, Property.USER_PROPERTY}
_IN_DISCONNECT = {Property.SESSION_EXPIRY_INTERVAL, Property.REASON_STRING, Property.USER_PROPERTY}

_NUMBERS = {
    Property.PAYLOAD_FORMAT_INDICATOR: 1,
    Property.REQUEST_PROBLEM_INFORMATION: 1,
    Property.REQUEST_RESPONSE_INFORMATION: 1,
    Property.RECEIVE_MAXIMUM: 2,
    Property.TOPIC_ALIAS_MAXIMUM: 2,
    Property.TOPIC_ALIAS: 2,
    Property.MESSAGE_EXPIRY_INTERVAL: 4,
    Property.SESSION_EXPIRY_INTERVAL: 4,
    Property.WILL_DELAY_INTERVAL: 4,
    Property.MAXIMUM_PACKET_SIZE: 4,
}  # property: its size in bytes
_BINARY = {Property.CORRELATION_DATA, Property.AUTHENTICATION_DATA}
_NOT_ZERO = {Property.RECEIVE_MAXIMUM, Property.MAXIMUM_PACKET_SIZE, Property.SUBSCRIPTION_IDENTIFIER}


class _Reader:
    """Reads the body of one packet from front to back."""

    __slots__ = ("_body", "_end", "_position")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._position = 0
        self._end = len(body)

    @property
    def left(self) -> int:
        return self._end - self._position

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise PacketError(Code.MALFORMED_PACKET, "the packet ends too early")
        start = self._position
        self._position = start + size
        return self._body[start : self._position]

    def rest(self) -> bytes:
        return self.take(self.left)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def packet_id(self) -> int:
        packet_id = self.number(2)
        if packet_id == 0:
            raise PacketError(Code.PROTOCOL_ERROR, "packet identifier 0 (2.2.1)")
        return packet_id

    def variable(self) -> int:
        """Read a variable byte integer (1.5.5)."""
        value = 0
        for shift in (0, 7, 14, 21):
            byte = self.number(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise PacketError(Code.MALFORMED_PACKET, "a variable byte integer has four bytes at most")

    def binary(self) -> bytes:
        return self.take(self.number(2))

    def text(self) -> str:
        try:
            text = self.binary().decode()
        except UnicodeDecodeError as error:
            raise PacketError(Code.MALFORMED_PACKET, "a string is not UTF-8 (1.5.4)") from error
        if "\0" in text:
            raise PacketError(Code.MALFORMED_PACKET, "a string holds NUL (1.5.4)")
        return text

    def properties(self, allowed: set[Property]) -> tuple[dict[Property, int], bytes]:
        """Read a block of properties; return the numbers in it, and as bytes what travels with a message."""
        length = self.variable()
        if length == 0:
            return {}, b""
        block = _Reader(self.take(length))
        numbers: dict[Property, int] = {}
        message = b""
        while block.left:
            start = block._position
            property_ = block._property(allowed, numbers)
            if property_ in _MESSAGE:
                message += block._body[start : block._position]
        return numbers, message

    def _property(self, allowed: set[Property], numbers: dict[Property, int]) -> Property:
        try:
            property_ = Property(self.variable())
        except ValueError as error:
            raise PacketError(Code.MALFORMED_PACKET, "unknown property") from error
        if property_ not in allowed or property_ in numbers:
            raise PacketError(Code.PROTOCOL_ERROR, f"property {property_.name} is not allowed here")
        if property_ in _NUMBERS:
            numbers[property_] = self.number(_NUMBERS[property_])
        elif property_ is Property.SUBSCRIPTION_IDENTIFIER:
            numbers[property_] = self.variable()
        elif property_ in _BINARY:
            self.binary()
        else:
            self.text()
            if property_ is Property.USER_PROPERTY:
                self.text()
            elif property_ is Property.AUTHENTICATION_METHOD:
                numbers[property_] = 1
        if property_ in _NOT_ZERO and numbers[property_] == 0:
            raise PacketError(Code.PROTOCOL_ERROR, f"property {property_.name} must not be 0")
        return property_


def decode_connect(flags: int, body: bytes) -> Connect:
    """Read CONNECT, the only packet that tells the version of those after it."""
    reader = _Reader(body)
    name, version = reader.text(), reader.number(1)
    if name != "MQTT" or version not in {4, 5}:
        raise PacketError(Code.UNSUPPORTED_PROTOCOL_VERSION, f"protocol {name!r} version {version}")
    connect_flags = reader.number(1)
    will_qos, with_will = connect_flags >> 3 & 3, bool(connect_flags & 4)
    if flags or connect_flags & 1 or will_qos == 3 or (not with_will and connect_flags & 0x38):
        raise PacketError(Code.MALFORMED_PACKET, "flags of CONNECT (3.1.2.3)")
    if version == 4 and connect_flags & 0xC0 == 0x40:
        raise PacketError(Code.MALFORMED_PACKET, "a password without a user name (MQTT 3.1.1, 3.1.2.9)")
    keepalive = reader.number(2)
    properties = reader.properties(_IN_CONNECT)[0] if version == 5 else {}
    client_id = reader.text()
    will = _decode_will(reader, version, will_qos, retain=bool(connect_flags & 0x20)) if with_will else None
    username = reader.text() if connect_flags & 0x80 else None
    password = reader.binary() if connect_flags & 0x40 else None
    _check_end(reader)
    return Connect(
        version,
        client_id,
        bool(connect_flags & 2),
        keepalive,
        username,
        password,
        will,
        session_expiry=properties.get(Property.SESSION_EXPIRY_INTERVAL, 0),
        receive_maximum=properties.get(Property.RECEIVE_MAXIMUM, 65_535),
        maximum_packet_size=properties.get(Property.MAXIMUM_PACKET_SIZE),
        authentication_method=Property.AUTHENTICATION_METHOD in properties,
    )


def _decode_will(reader: _Reader, version: int, qos: int, *, retain: bool) -> Publication:
    # The will delay is of no effect: the session ends with the connection, and the will is due then (3.1.3.2.2).
    numbers, message = reader.properties(_IN_WILL) if version == 5 else ({}, b"")
    topic = _topic(reader)
    expiry = numbers.get(Property.MESSAGE_EXPIRY_INTERVAL)
    return Publication(topic, reader.binary(), qos, retain, expiry, message)


def decode_publish(flags: int, body: bytes, version: int) -> Publish:
    """Read PUBLISH; quality 2 is refused, as CONNACK has announced."""
    qos = flags >> 1 & 3
    if qos == 3:
        raise PacketError(Code.MALFORMED_PACKET, "QoS 3")
    if qos == 2:
        raise PacketError(Code.QOS_NOT_SUPPORTED, "QoS 2")
    reader = _Reader(body)
    topic = _topic(reader)
    packet_id = reader.packet_id() if qos else 0
    numbers, message = reader.properties(_IN_PUBLISH) if version == 5 else ({}, b"")
    if Property.TOPIC_ALIAS in numbers:
        raise PacketError(Code.TOPIC_ALIAS_INVALID, "a topic alias; CONNACK allows none")
    expiry = numbers.get(Property.MESSAGE_EXPIRY_INTERVAL)
    return Publish(Publication(topic, reader.rest(), qos, bool(flags & 1), expiry, message), packet_id)


def decode_puback(flags: int, body: bytes, version: int) -> int:
    """Read PUBACK; return the packet identifier. Its reason makes no difference to a broker."""
    reader = _Reader(body)
    packet_id = reader.packet_id()
    if version == 5 and reader.left:
        reader.number(1)
        if reader.left:
            reader.properties(_IN_PUBACK)
    _check_end(reader)
    _check_flags(flags, 0)
    return packet_id


def decode_subscribe(flags: int, body: bytes, version: int) -> Subscribe:
    """Read SUBSCRIBE."""
    _check_flags(flags, 2)
    reader = _Reader(body)
    packet_id = reader.packet_id()
    identifier = None
    if version == 5:
        identifier = reader.properties(_IN_SUBSCRIBE)[0].get(Property.SUBSCRIPTION_IDENTIFIER)
    subscriptions: list[Subscription | Code] = []
    while reader.left:
        topic_filter, options = reader.text(), reader.number(1)
        subscriptions.append(_subscription(topic_filter, options, version, identifier))
    if not subscriptions:
        raise PacketError(Code.PROTOCOL_ERROR, "SUBSCRIBE without a filter (3.8.3)")
    return Subscribe(packet_id, subscriptions)


def _subscription(topic_filter: str, options: int, version: int, identifier: int | None) -> Subscription | Code:
    qos, handling = options & 3, options >> 4 & 3
    if qos == 3 or handling == 3 or options & (0xC0 if version == 5 else 0xFC):
        raise PacketError(Code.MALFORMED_PACKET, "subscription options (3.8.3.1)")
    if topic_filter.startswith("$share/"):
        return Code.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED
    try:
        check_filter(topic_filter)
    except ValueError:
        return Code.TOPIC_FILTER_INVALID
    return Subscription(topic_filter, min(qos, 1), bool(options & 4), bool(options & 8), handling, identifier)


def decode_unsubscribe(flags: int, body: bytes, version: int) -> Unsubscribe:
    """Read UNSUBSCRIBE."""
    _check_flags(flags, 2)
    reader = _Reader(body)
    packet_id = reader.packet_id()
    if version == 5:
        reader.properties(_IN_UNSUBSCRIBE)
    filters = []
    while reader.left:
        filters.append(reader.text())
    if not filters:
        raise PacketError(Code.PROTOCOL_ERROR, "UNSUBSCRIBE without a filter (3.10.3)")
    return Unsubscribe(packet_id, filters)


def decode_disconnect(flags: int, body: bytes, version: int) -> int:
    """Read DISCONNECT; return its reason code."""
    _check_flags(flags, 0)
    reader = _Reader(body)
    if version != 5 or not reader.left:
        _check_end(reader)
        return Code.SUCCESS
    code = reader.number(1)
    if reader.left:
        reader.properties(_IN_DISCONNECT)
    _check_end(reader)
    return code


def decode_empty(flags: int, body: bytes) -> None:
    """Read a packet that is nothing but its type."""
    _check_flags(flags, 0)
    _check_end(_Reader(body))


def _check_flags(flags: int, expected: int) -> None:
    if flags != expected:
        raise PacketError(Code.MALFORMED_PACKET, "reserved flags (2.1.3)")


def _check_end(reader: _Reader) -> None:
    if reader.left:
        raise PacketError(Code.MALFORMED_PACKET, "the packet goes on after its end")


def _topic(reader: _Reader) -> str:
    topic = reader.text()
    try:
        return check_topic(topic)
    except ValueError as error:
        raise PacketError(Code.TOPIC_NAME_INVALID, str(error)) from error
