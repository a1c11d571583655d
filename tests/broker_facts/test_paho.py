"""What paho does that `neptune.transport._paho` is written around. See `test_queues` for how to read a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from tests.broker_facts.peer import SECONDS, Peer
from tests.support.mosquitto import Mosquitto

StartMosquitto = Callable[..., Mosquitto]


def test_an_error_in_a_callback_ends_the_network_thread_and_the_client_says_connected(
    start_mosquitto: StartMosquitto,
) -> None:
    """Consequence: each callback of the adapter is guarded, and the adapter runs paho's loop in a thread of its own."""
    ended = threading.Event()

    def fail(*_: object) -> None:
        raise RuntimeError("planted")

    with Peer(start_mosquitto().port) as peer:
        peer.subscribe("t")
        peer.client.on_message = fail
        previous, threading.excepthook = threading.excepthook, lambda _: ended.set()
        try:
            peer.client.publish("t", b"!", qos=1)
            assert ended.wait(SECONDS)
        finally:
            threading.excepthook = previous
        assert peer.client.is_connected()


def test_a_refused_publish_counts_as_published(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    """Consequence: the adapter looks at the reason code of `on_publish`, never at `is_published`."""
    (tmp_path / "acl").write_text("topic readwrite mark/#\n")
    with Peer(start_mosquitto(config=f"allow_anonymous true\nacl_file {tmp_path}/acl\n").port) as peer:
        info = peer.client.publish("forbidden", b"!", qos=1)
        info.wait_for_publish(SECONDS)
        assert info.is_published()
        assert peer._answer(info) == 135


def test_what_is_published_while_away_is_kept_and_sent_later(start_mosquitto: StartMosquitto) -> None:
    """Consequence: a fresh client for each connection: nothing of an older one may come out of paho's own queue."""
    broker = start_mosquitto()
    with Peer(broker.port) as reader:
        reader.subscribe("t")
        writer = Peer(broker.port)
        writer.client.publish("t", b"too early", qos=1)
        with writer:
            assert reader.hear(1) == [b"too early"]
