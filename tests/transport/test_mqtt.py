"""The MQTT adapter against a real mosquitto, and against a scripted peer for what mosquitto never does."""

from __future__ import annotations

import asyncio
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
import structlog

from neptune.errors import SettingsError
from neptune.testing.processes import free_port
from neptune.transport import Connected, Disconnected, Message, Published, Received, Session
from neptune.transport._arrivals import Arrivals
from neptune.transport._paho import MAX_IN_FLIGHT
from neptune.transport.mqtt import MqttSettings, MqttTransport
from neptune.transport.retry import RetryPolicy
from tests.support.certificates import write_certificates
from tests.support.mosquitto import Mosquitto
from tests.support.transports import closing, connect, disconnected, eventually, received, until
from tests.transport.scripted import ScriptedBroker

NOTHING = Session(filters=())
FAST = RetryPolicy(first_seconds=0.02, max_seconds=0.1)
_ids = itertools.count()

Version = Literal[4, 5]
StartMosquitto = Callable[..., Mosquitto]


def make_transport(port: int, *, url: str = "mqtt://127.0.0.1:{port}", **settings: Any) -> MqttTransport:
    settings = {"client_id": f"test-{next(_ids)}", "retry": FAST, **settings}
    return MqttTransport(MqttSettings(url=url.format(port=port), **settings))


@pytest.fixture
def port(start_mosquitto: StartMosquitto) -> int:
    return start_mosquitto().port


async def failure(transport: MqttTransport, session: Session = NOTHING) -> str:
    async with closing(transport):
        await transport.open(session)
        return (await disconnected(transport)).reason


async def test_a_port_without_a_broker_is_named_with_what_to_check() -> None:
    port = free_port()
    assert await failure(make_transport(port)) == (
        f"cannot reach broker 127.0.0.1:{port}: connection refused: is it running, and is the port right?"
    )


async def test_an_unknown_host_name_is_told_from_a_closed_port() -> None:
    reason = await failure(make_transport(1883, url="mqtt://no-such-host.invalid:{port}"))
    assert "broker no-such-host.invalid:1883: host name not found" in reason


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    path = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-b", "-c", path, "edge0", "right"], check=True, timeout=10)
    return path


@pytest.mark.parametrize("protocol", [5, 4])
async def test_a_wrong_password_is_named(start_mosquitto: StartMosquitto, passwords: Path, protocol: Version) -> None:
    port = start_mosquitto(config=f"password_file {passwords}\n").port
    wrong = make_transport(port, username="edge0", password="wrong", protocol=protocol)
    assert "not authorised: check the user name, the password and the rights of user 'edge0'" in await failure(wrong)
    right = make_transport(port, username="edge0", password="right", protocol=protocol)
    async with closing(right):
        await connect(right, NOTHING)


async def test_tls_works_with_the_right_authority_and_names_the_wrong_one(
    start_mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    mine, other = write_certificates(tmp_path / "mine"), write_certificates(tmp_path / "other")
    tls = f"cafile {mine.ca}\ncertfile {mine.server_certificate}\nkeyfile {mine.server_key}\nallow_anonymous true\n"
    port = start_mosquitto(config=tls).port
    right = make_transport(port, url="mqtts://127.0.0.1:{port}", ca_file=mine.ca)
    async with closing(right):
        await connect(right, Session(("t",)))
        assert await right.publish(Message("t", b"x" * 200_000)) is Published.ACCEPTED
        assert len((await received(right)).payload) == 200_000
    wrong = make_transport(port, url="mqtts://127.0.0.1:{port}", ca_file=other.ca)
    assert "TLS verification failed" in await failure(wrong)


def test_tls_files_that_cannot_be_used_are_refused_by_their_names(tmp_path: Path) -> None:
    files = write_certificates(tmp_path / "right")
    junk, missing = tmp_path / "junk.pem", tmp_path / "missing.pem"
    junk.write_text("not PEM")
    url = "mqtts://127.0.0.1:8883"
    cases: tuple[tuple[dict[str, Any], Path], ...] = (
        ({"ca_file": missing}, missing),
        ({"ca_file": junk}, junk),
        ({"ca_file": files.ca, "cert_file": junk}, junk),
        ({"cert_file": files.server_certificate, "key_file": missing}, missing),
    )
    for given, named in cases:
        with pytest.raises(SettingsError, match=re.escape(str(named))):
            MqttTransport(MqttSettings(url=url, client_id="edge0", **given))
    with pytest.raises(SettingsError, match="mqtts://"):
        MqttSettings(url="mqtt://127.0.0.1", client_id="edge0", ca_file=files.ca)


async def test_a_tls_file_that_goes_wrong_later_is_named_and_waited_for(
    start_mosquitto: StartMosquitto, tmp_path: Path
) -> None:
    files = write_certificates(tmp_path / "right")
    tls = f"cafile {files.ca}\ncertfile {files.server_certificate}\nkeyfile {files.server_key}\nallow_anonymous true\n"
    transport = make_transport(start_mosquitto(config=tls).port, url="mqtts://127.0.0.1:{port}", ca_file=files.ca)
    files.ca.unlink()
    assert str(files.ca) in await failure(transport)


@pytest.mark.parametrize("protocol", [5, 4])
async def test_a_second_agent_of_the_same_name_is_suspected(port: int, protocol: Version) -> None:
    slow = RetryPolicy(first_seconds=60, max_seconds=60)
    first = make_transport(port, client_id="edge0", protocol=protocol, retry=slow)
    second = make_transport(port, client_id="edge0", protocol=protocol, retry=slow)
    async with closing(first, second):
        await connect(first, NOTHING)
        await connect(second, NOTHING)
        reason = (await disconnected(first)).reason
    assert "edge0" in reason
    assert "using this node name" in reason


async def test_a_publish_against_the_acl_is_denied(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("topic readwrite allowed\n")
    port = start_mosquitto(config=f"allow_anonymous true\nacl_file {tmp_path / 'acl'}\n").port
    transport = make_transport(port)
    async with closing(transport):
        await connect(transport, Session(("allowed",)))
        assert await transport.publish(Message("forbidden", b"")) is Published.DENIED
        assert await transport.publish(Message("allowed", b"")) is Published.ACCEPTED


async def test_a_reader_who_sleeps_loses_the_oldest_messages_counted(port: int) -> None:
    reader, writer = make_transport(port, max_queued_messages=10), make_transport(port)
    async with closing(reader, writer):
        await connect(reader, Session(("t",)))
        await connect(writer, NOTHING)
        for number in range(50):
            await writer.publish(Message("t", b"%d" % number))
        await eventually(lambda: reader.dropped == 40)
        kept = [(await received(reader)).payload for _ in range(10)]
    assert kept == [b"%d" % number for number in range(40, 50)]


async def test_what_waits_is_bounded_in_bytes_too(port: int) -> None:
    reader, writer = make_transport(port, max_queued_bytes=10_000), make_transport(port)
    async with closing(reader, writer):
        await connect(reader, Session(("t",)))
        await connect(writer, NOTHING)
        for number in range(10):
            await writer.publish(Message("t", b"%d" % number * 3000))
        await eventually(lambda: reader.dropped == 7)
        assert [(await received(reader)).payload[:1] for _ in range(3)] == [b"7", b"8", b"9"]


@pytest.mark.parametrize("protocol", [5, 4])
async def test_a_message_above_our_limit_is_not_kept(port: int, protocol: Version) -> None:
    reader, writer = make_transport(port, protocol=protocol, max_packet_bytes=1000), make_transport(port)
    async with closing(reader, writer):
        await connect(reader, Session(("t",)))
        await connect(writer, NOTHING)
        await writer.publish(Message("t", b"x" * 5000))
        await writer.publish(Message("t", b"small"))
        assert (await received(reader)).payload == b"small"


async def test_an_error_in_a_callback_does_not_end_the_network_thread(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, left = Arrivals.put, [1]

    def fail_once(self: Arrivals, message: Received) -> None:
        if left:
            raise RuntimeError(f"planted {left.pop()}")
        put(self, message)

    monkeypatch.setattr(Arrivals, "put", fail_once)
    transport = make_transport(port)
    with structlog.testing.capture_logs() as logs:
        async with closing(transport):
            await connect(transport, Session(("t",)))
            await transport.publish(Message("t", b"lost"))
            await transport.publish(Message("t", b"next"))
            assert await received(transport) == Received("t", b"next", retained=False, connection=1)
    assert [(entry["event"], entry["callback"]) for entry in logs] == [("mqtt callback failed", "_on_message")]


async def test_two_hundred_publishes_at_once_all_get_their_acknowledgement(port: int) -> None:
    transport = make_transport(port)
    async with closing(transport):
        await connect(transport, Session(("t",)))
        answers = await asyncio.gather(*(transport.publish(Message("t", b"%d" % n)) for n in range(200)))
        assert set(answers) == {Published.ACCEPTED}
        assert [(await received(transport)).payload for _ in range(200)] == [b"%d" % n for n in range(200)]


async def test_a_topic_that_nobody_may_publish_to_is_the_callers_error(port: int) -> None:
    transport = make_transport(port)
    async with closing(transport):
        await connect(transport, NOTHING)
        with pytest.raises(ValueError, match="wildcard"):
            await transport.publish(Message("a/#", b""))


async def test_a_broker_that_never_answers_subscribe_is_left() -> None:
    async with ScriptedBroker(subscribe=b"") as broker:
        reason = await failure(make_transport(broker.port, answer_seconds=0.1), Session(("t",)))
    assert reason == f"broker 127.0.0.1:{broker.port} gave no answer to SUBSCRIBE within 0.1 s"


async def test_a_broker_that_never_answers_connect_is_left() -> None:
    async with ScriptedBroker(connect=b"") as broker:
        reason = await failure(make_transport(broker.port, answer_seconds=0.1))
    assert "gave no answer to CONNECT within 0.1 s" in reason


async def test_a_refused_filter_is_named() -> None:
    async with ScriptedBroker(subscribe=b"\x90\x05\x00\x01\x00\x01\x87") as broker:
        reason = await failure(make_transport(broker.port), Session(("mine", "theirs")))
    assert "refused to subscribe theirs (Not authorized): check its ACL" in reason


async def test_a_filter_without_an_answer_is_not_taken_for_granted() -> None:
    async with ScriptedBroker() as broker:
        reason = await failure(make_transport(broker.port), Session(("mine", "theirs")))
    assert "answered 1 of 2 filters in SUBACK" in reason


async def test_a_broker_of_mqtt_3_only_is_told_apart() -> None:
    unacceptable_protocol_version = b"\x20\x02\x00\x01"  # MQTT 3.1.1, 3.2.2.3
    async with ScriptedBroker(connect=unacceptable_protocol_version) as broker:
        reason = await failure(make_transport(broker.port))
    assert "does not speak this version of MQTT: set mqtt-version to 3.1.1" in reason


async def test_a_peer_that_speaks_something_else_is_told_apart() -> None:
    async with ScriptedBroker(connect=b"\xf0\x00") as broker:
        reason = await failure(make_transport(broker.port, protocol=4))
    assert "answers otherwise than MQTT asks for: try mqtt-version 5" in reason


async def test_a_take_over_that_the_broker_tells_is_named() -> None:
    async with ScriptedBroker(subscribe=ScriptedBroker.SUBACK + b"\xe0\x01\x8e") as broker:
        transport = make_transport(broker.port, client_id="edge0")
        async with closing(transport):
            await connect(transport, Session(("t",)))
            assert "another client with id 'edge0' took over" in (await disconnected(transport)).reason


async def test_no_number_is_shared_by_two_wills() -> None:
    wills: list[int] = []

    def will(number: int) -> Message:
        wills.append(number)
        return Message("will", b"%d" % number)

    async with ScriptedBroker(connect=b"") as broker:
        transport = make_transport(broker.port, answer_seconds=0.05)
        async with closing(transport):
            await transport.open(Session((), will))
            await disconnected(transport)
            broker.connect = ScriptedBroker.CONNACK
            assert (await until(transport, Connected)).connection >= 2
    assert wills == sorted(set(wills))


async def test_a_network_that_swallows_everything_is_noticed_by_the_missing_ping() -> None:
    async with ScriptedBroker() as broker:
        transport = make_transport(broker.port, keepalive_seconds=1)
        async with closing(transport):
            await connect(transport, NOTHING)
            assert "did not answer to PING: is the network broken?" in (await disconnected(transport)).reason


async def test_a_publish_without_acknowledgement_is_given_up() -> None:
    async with ScriptedBroker(publish=b"") as broker:
        transport = make_transport(broker.port, answer_seconds=0.1)
        async with closing(transport):
            await connect(transport, NOTHING)
            assert await transport.publish(Message("t", b"")) is Published.DISCONNECTED


async def test_a_broker_that_acknowledges_nothing_is_left() -> None:
    async with ScriptedBroker(publish=b"") as broker:
        transport = make_transport(broker.port, answer_seconds=0.1)
        async with closing(transport):
            await connect(transport, NOTHING)
            publishes = (transport.publish(Message("t", b"")) for _ in range(30))
            assert set(await asyncio.gather(*publishes)) == {Published.DISCONNECTED}
            assert "acknowledged no message" in (await disconnected(transport)).reason


async def test_a_broker_that_is_slow_for_what_waits_is_kept() -> None:
    """A thousand nodes wait for twenty places: who gets none in time has no reason to end the others' connection."""
    puback = b"\x40\x02\x00"
    async with ScriptedBroker(publish=b"") as broker:
        transport = make_transport(broker.port, answer_seconds=1.0)
        async with closing(transport):
            await connect(transport, NOTHING)
            publishes = [asyncio.create_task(transport.publish(Message("t", b""))) for _ in range(MAX_IN_FLIGHT + 2)]
            await asyncio.sleep(0)
            broker.say(puback + b"\x01")
            outcomes = await asyncio.gather(*publishes)
            assert (outcomes[0], outcomes[-1]) == (Published.ACCEPTED, Published.QUEUE_FULL)
            broker.say(b"".join(puback + bytes([number]) for number in range(2, MAX_IN_FLIGHT + 2)))
            broker.publish = puback + bytes([MAX_IN_FLIGHT + 2])
            assert await transport.publish(Message("t", b"")) is Published.ACCEPTED


async def test_a_message_that_cannot_be_read_does_not_end_the_connection() -> None:
    bad_topic = b"\x32\x06\x00\x01\xff\x00\x01\x00"
    good = b"\x32\x07\x00\x01t\x00\x02\x00!"
    async with ScriptedBroker(subscribe=ScriptedBroker.SUBACK + bad_topic + good) as broker:
        transport = make_transport(broker.port)
        async with closing(transport):
            await connect(transport, Session(("t",)))
            assert await received(transport) == Received("t", b"!", retained=False, connection=1)


async def test_closing_while_the_broker_is_silent_takes_less_than_three_seconds() -> None:
    async with ScriptedBroker(publish=b"") as broker:
        transport = make_transport(broker.port)
        await connect(transport, NOTHING)
        started = time.monotonic()
        await transport.close(Message("t", b"bye"))
        assert time.monotonic() - started < 3


async def test_closing_during_the_first_attempt_leaves_nothing_behind() -> None:
    async with ScriptedBroker(connect=b"") as broker:
        transport = make_transport(broker.port)
        await transport.open(NOTHING)
        await broker.connected.wait()
        await transport.close()


async def test_a_packet_above_the_brokers_limit_is_not_sent() -> None:
    limited = b"\x20\x08\x00\x00\x05\x27\x00\x00\x10\x00"  # Maximum Packet Size 4096
    async with ScriptedBroker(connect=limited) as broker:
        transport = make_transport(broker.port)
        async with closing(transport):
            await connect(transport, NOTHING)
            assert await transport.publish(Message("t", b"x" * 5000)) is Published.DENIED


async def test_retries_wait_longer_and_longer() -> None:
    transport = make_transport(free_port(), retry=RetryPolicy(0.01, 0.05))
    async with closing(transport):
        await transport.open(NOTHING)
        waits = [(await until(transport, Disconnected)).retry_seconds for _ in range(5)]
    assert all(0 <= wait <= 0.05 for wait in waits)


async def test_a_will_that_cannot_be_made_is_told_to_the_reader(port: int) -> None:
    def will(number: int) -> Message:
        raise RuntimeError(f"no will for {number}")

    transport = make_transport(port)
    async with closing(transport):
        await transport.open(Session((), will))
        with pytest.raises(RuntimeError, match="no will for 1"):
            await transport.next_event()


def test_an_edge_node_loads_nothing_heavy() -> None:
    code = "import sys, neptune.transport.mqtt, neptune.embedded.broker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert not {"aiohttp", "cryptography", "kubernetes", "pydantic"} & set(loaded.stdout.split())


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://broker"},
        {"url": "mqtt://"},
        {"url": "mqtt://broker:99999"},
        {"url": "mqtt://user:secret@broker"},
        {"url": "mqtt://broker/path"},
        {"client_id": ""},
        {"protocol": 3},
        {"keepalive_seconds": 0},
        {"key_file": Path("key")},
    ],
)
def test_settings_out_of_bounds_are_refused_without_showing_secrets(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        MqttSettings(**{"url": "mqtt://broker", "client_id": "edge0", **wrong})
    assert "secret" not in str(caught.value)


def test_the_password_is_not_shown() -> None:
    settings = MqttSettings(url="mqtts://[::1]", client_id="edge0", username="edge0", password="hunter2")
    assert "hunter2" not in repr(settings)
    assert (settings.host, settings.port, settings.address) == ("::1", 8883, "[::1]:8883")
