"""What packets of MQTT 3.1.1 and 5 are made of: types, codes, properties, and those that a client sends. Values only.

Section numbers in this package are those of the MQTT 5 specification. Neighbours: `decode`, `encode`, `connection`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from neptune.transport.broker_types import Publication, Subscription


class Packet(IntEnum):
    """Packet types (2.1.2) that a broker without QoS 2 sends or takes."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


class Code(IntEnum):
    """Reason codes (2.4)."""

    SUCCESS = 0
    DISCONNECT_WITH_WILL = 4
    NO_MATCHING_SUBSCRIBERS = 16
    NO_SUBSCRIPTION_EXISTED = 17
    MALFORMED_PACKET = 129
    PROTOCOL_ERROR = 130
    UNSUPPORTED_PROTOCOL_VERSION = 132
    CLIENT_IDENTIFIER_NOT_VALID = 133
    BAD_USER_NAME_OR_PASSWORD = 134
    NOT_AUTHORIZED = 135
    SERVER_UNAVAILABLE = 136
    SERVER_SHUTTING_DOWN = 139
    BAD_AUTHENTICATION_METHOD = 140
    KEEP_ALIVE_TIMEOUT = 141
    SESSION_TAKEN_OVER = 142
    TOPIC_FILTER_INVALID = 143
    TOPIC_NAME_INVALID = 144
    TOPIC_ALIAS_INVALID = 148
    PACKET_TOO_LARGE = 149
    QOS_NOT_SUPPORTED = 155
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 158


class Property(IntEnum):
    """Property identifiers (2.2.2.2) of packets that clients send, and those that we answer with."""

    PAYLOAD_FORMAT_INDICATOR = 0x01
    MESSAGE_EXPIRY_INTERVAL = 0x02
    CONTENT_TYPE = 0x03
    RESPONSE_TOPIC = 0x08
    CORRELATION_DATA = 0x09
    SUBSCRIPTION_IDENTIFIER = 0x0B
    SESSION_EXPIRY_INTERVAL = 0x11
    ASSIGNED_CLIENT_IDENTIFIER = 0x12
    AUTHENTICATION_METHOD = 0x15
    AUTHENTICATION_DATA = 0x16
    REQUEST_PROBLEM_INFORMATION = 0x17
    WILL_DELAY_INTERVAL = 0x18
    REQUEST_RESPONSE_INFORMATION = 0x19
    REASON_STRING = 0x1F
    RECEIVE_MAXIMUM = 0x21
    TOPIC_ALIAS_MAXIMUM = 0x22
    TOPIC_ALIAS = 0x23
    MAXIMUM_QOS = 0x24
    USER_PROPERTY = 0x26
    MAXIMUM_PACKET_SIZE = 0x27
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A


class PacketError(Exception):
    """A packet that no client may send. `code` is what MQTT 5 calls the fault."""

    def __init__(self, code: Code, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Connect:
    """CONNECT (3.1). `version` is 4 for MQTT 3.1.1, or 5."""

    version: int
    client_id: str
    clean_start: bool
    keepalive_seconds: int
    username: str | None
    password: bytes | None
    will: Publication | None
    session_expiry: int
    receive_maximum: int
    maximum_packet_size: int | None
    authentication_method: bool


class Publish(NamedTuple):
    """PUBLISH (3.3). `packet_id` is 0 with quality 0."""

    publication: Publication
    packet_id: int


class Subscribe(NamedTuple):
    """SUBSCRIBE (3.8). In place of a filter that is malformed stands the code to answer with."""

    packet_id: int
    subscriptions: list[Subscription | Code]


class Unsubscribe(NamedTuple):
    """UNSUBSCRIBE (3.10)."""

    packet_id: int
    filters: list[str]
