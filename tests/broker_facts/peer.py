"""A plain MQTT client for facts about brokers: it blocks, and tells what the broker said."""

from __future__ import annotations

import itertools
import queue
import threading
from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

SECONDS = 10.0
_numbers = itertools.count()


class Peer:
    """Connected within its context.

    `durable` keeps the session at the broker; `user` is name and password in one; `acknowledges` is false for one who
    never sends a PUBACK.
    """

    def __init__(
        self,
        port: int,
        *,
        version: int = 5,
        client_id: str | None = None,
        durable: bool = False,
        user: str | None = None,
        will: str | None = None,
        acknowledges: bool = True,
    ) -> None:
        self._port, self._durable, self._mqtt5 = port, durable, version == 5
        self.heard: queue.Queue[MQTTMessage] = queue.Queue()
        self._connected, self._subscribed = threading.Event(), threading.Event()
        self._granted: list[int] = []
        self._answers: dict[int, int] = {}
        self._answered = threading.Condition()
        self.client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"peer-{next(_numbers)}",
            clean_session=None if self._mqtt5 else not durable,
            protocol=MQTTProtocolVersion.MQTTv5 if self._mqtt5 else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
            manual_ack=not acknowledges,
        )
        if user:
            client.username_pw_set(user, user)
        if will:
            client.will_set(will, b"will", qos=1)
        client.max_inflight_messages_set(10_000)
        client.on_connect = lambda *_: self._connected.set()
        client.on_message = lambda _c, _u, message: self.heard.put(message)
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish

    def __enter__(self) -> Self:
        properties = None
        more: dict[str, Any] = {}
        if self._mqtt5:
            properties = _properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 3600 if self._durable else 0
            more = {"clean_start": not self._durable, "properties": properties}
        self.client.connect("127.0.0.1", self._port, **more)
        self.client.loop_start()
        assert self._connected.wait(SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()
        self.client._reset_sockets()

    def subscribe(self, *filters: str, qos: int = 1) -> list[int]:
        """Return the reason codes of SUBACK."""
        self._subscribed.clear()
        self.client.subscribe([(each, qos) for each in filters])
        assert self._subscribed.wait(SECONDS)
        return self._granted

    def publish(self, topic: str, payload: bytes = b"!", *, retain: bool = False) -> int:
        """Return the reason code of PUBACK."""
        return self.publish_all([(topic, payload)], retain=retain)[0]

    def publish_all(self, messages: list[tuple[str, bytes]], *, retain: bool = False) -> list[int]:
        """Publish without waiting in between; return the reason codes in order."""
        sent = [self.client.publish(topic, payload, qos=1, retain=retain) for topic, payload in messages]
        return [self._answer(info) for info in sent]

    def hear(self, number: int) -> list[bytes]:
        """Return the payloads of so many messages."""
        return [bytes(self.heard.get(timeout=SECONDS).payload) for _ in range(number)]

    def all_heard(self) -> list[bytes]:
        """Return the payloads of all that has come and is on its way: what stands before a message of our own."""
        mark = f"mark/{next(_numbers)}"
        self.subscribe(mark)
        self.publish(mark, b"mark")
        found = []
        while (message := self.heard.get(timeout=SECONDS)).topic != mark:
            found.append(bytes(message.payload))
        return found

    def acknowledge(self, messages: list[MQTTMessage]) -> None:
        """Send the PUBACKs that were held back."""
        for message in messages:
            self.client.ack(message.mid, message.qos)

    def _answer(self, info: MQTTMessageInfo) -> int:
        with self._answered:
            assert self._answered.wait_for(lambda: info.mid in self._answers, SECONDS)
            return self._answers.pop(info.mid)

    def _on_subscribe(self, _c: Any, _u: Any, _mid: int, reasons: list[Any], _p: Any) -> None:
        self._granted = [reason.value for reason in reasons]
        self._subscribed.set()

    def _on_publish(self, _c: Any, _u: Any, mid: int, reason: Any, _p: Any) -> None:
        with self._answered:
            self._answers[mid] = reason.value
            self._answered.notify_all()


def _properties(packet: int) -> Properties:
    return Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves this constructor without types
