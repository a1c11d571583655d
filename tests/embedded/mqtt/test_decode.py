"""Decoding: whatever the bytes, a packet or a `PacketError`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neptune.embedded.mqtt import decode, encode
from neptune.embedded.mqtt.packets import Code, PacketError
from neptune.transport.broker_types import Delivery, Publication, Subscription
from tests.embedded.raw import connect, packet, publish, string, subscribe

DECODERS: list[Callable[..., Any]] = [
    decode.decode_publish,
    decode.decode_puback,
    decode.decode_subscribe,
    decode.decode_unsubscribe,
    decode.decode_disconnect,
]


def body(data: bytes) -> bytes:
    """Cut type and length off a packet of less than 130 bytes."""
    assert data[1] < 128
    return data[2:]


@pytest.mark.parametrize("decoder", DECODERS)
@given(flags=st.integers(0, 15), data=st.binary(max_size=64), version=st.sampled_from([4, 5]))
def test_no_bytes_get_past_a_decoder(decoder: Callable[..., Any], flags: int, data: bytes, version: int) -> None:
    with suppress(PacketError):
        decoder(flags, data, version)


@given(st.binary(max_size=64) | st.binary(max_size=64).map(lambda tail: string("MQTT") + tail))
@example(string("MQTT") + b"\5\xff\0\0\0")
def test_no_bytes_get_past_connect(data: bytes) -> None:
    with suppress(PacketError):
        decode.decode_connect(0, data)


@given(
    st.sampled_from([connect(will=("w", b"!"), user=("u", "p")), publish("t", b"!"), subscribe("t")]),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_no_damage_to_a_good_packet_gets_past(good: bytes, damage: list[tuple[int, int]]) -> None:
    data = bytearray(body(good))
    for index, value in damage:
        data[index % len(data)] = value
    with suppress(PacketError):
        decode.decode_connect(good[0] & 15, bytes(data))
    for decoder in DECODERS:
        with suppress(PacketError):
            decoder(good[0] & 15, bytes(data), 5)


TEXT = st.text(st.characters(exclude_characters="\0+#", exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(TEXT, st.binary(max_size=300), st.integers(0, 1), st.booleans(), st.sampled_from([4, 5]))
def test_what_the_encoder_publishes_the_decoder_reads(
    topic: str, payload: bytes, qos: int, retain: bool, version: int
) -> None:
    publication = Publication(topic, payload, qos, retain)
    data = encode.publish(Delivery(publication, qos, retain, None, None), packet_id=7, version=version, now=0)
    length_bytes = 1 if len(data) < 130 else 2
    assert decode.decode_publish(data[0] & 15, data[1 + length_bytes :], version) == (publication, 7 * qos)


def test_connect_is_read_whole() -> None:
    data = connect("id", keepalive=30, will=("w", b"!"), user=("u", "p"), block=b"\x21\0\x0a\x11\0\0\0\5")
    read = decode.decode_connect(0, body(data))
    assert (read.client_id, read.keepalive_seconds, read.username, read.password) == ("id", 30, "u", b"p")
    assert (read.receive_maximum, read.session_expiry, read.clean_start) == (10, 5, True)
    assert read.will == Publication("w", b"!", qos=1)


def test_subscription_options_are_read() -> None:
    read = decode.decode_subscribe(2, body(subscribe("t", options=0b10_1110, block=b"\x0b\x80\x01")), 5)
    expected = Subscription("t", 1, no_local=True, retain_as_published=True, retain_handling=2, identifier=128)
    assert read.subscriptions == [expected]


def test_options_of_mqtt_5_are_malformed_in_3() -> None:
    with pytest.raises(PacketError) as caught:
        decode.decode_subscribe(2, body(subscribe("t", options=0b1001, version=4)), 4)
    assert caught.value.code is Code.MALFORMED_PACKET


def test_a_packet_identifier_of_zero_is_refused() -> None:
    with pytest.raises(PacketError, match="identifier 0"):
        decode.decode_puback(0, body(packet(0x40, b"\0\0")), 5)
