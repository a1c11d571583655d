from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from neptune.testing.certs import Authority
from neptune.testing.processes import ProcessError, accepts_connections
from tests.support.mosquitto import Broker, Mosquitto

if TYPE_CHECKING:
    from pathlib import Path

StartMosquitto = Callable[..., Mosquitto]

# MQTT 3.1.1 §3.1: clean session, keep-alive 60 s, client id "t".
CONNECT = bytes([0x10, 13, 0, 4, *b"MQTT", 4, 2, 0, 60, 0, 1, *b"t"])
ACCEPTED = bytes([0x20, 2, 0, 0])
NOT_AUTHORIZED = bytes([0x20, 2, 0, 5])


def connect(broker: Broker | Mosquitto, tls: ssl.SSLContext | None = None) -> bytes:
    """Return the broker's CONNACK, or nothing when it hangs up instead."""
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(socket.create_connection((broker.host, broker.port), timeout=5))
        try:
            if tls:
                stream = stack.enter_context(tls.wrap_socket(stream, server_hostname=broker.host))
            stream.sendall(CONNECT)
            return stream.recv(4)
        except (ssl.SSLError, ConnectionError):
            return b""


def test_session_broker_lets_everybody_in(mosquitto: Broker | Mosquitto) -> None:
    assert connect(mosquitto) == ACCEPTED


def test_topic_prefix_is_one_level(topic_prefix: str) -> None:
    assert topic_prefix.startswith("test-")
    assert "/" not in topic_prefix


def test_configuration_is_the_tests_own(start_mosquitto: StartMosquitto) -> None:
    assert connect(start_mosquitto(config="allow_anonymous false\n")) == NOT_AUTHORIZED


def test_killed_broker_comes_back_on_its_port(start_mosquitto: StartMosquitto) -> None:
    broker = start_mosquitto()
    port = broker.port

    broker.kill()
    assert not accepts_connections(port)
    broker.start()

    assert broker.port == port
    assert connect(broker) == ACCEPTED


def test_restart_keeps_the_port(start_mosquitto: StartMosquitto) -> None:
    broker = start_mosquitto()
    broker.restart()
    assert connect(broker) == ACCEPTED


def test_client_certificate_opens_a_tls_listener(start_mosquitto: StartMosquitto, tmp_path: Path) -> None:
    authority = Authority()
    server, client = authority.server(), authority.client("edge0")
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    (tmp_path / "server.crt").write_bytes(server.certificate)
    (tmp_path / "server.key").write_bytes(server.key)
    (tmp_path / "client.pem").write_bytes(client.certificate + client.key)
    broker = start_mosquitto(
        folder=tmp_path,
        config=f"cafile {tmp_path}/ca.crt\ncertfile {tmp_path}/server.crt\nkeyfile {tmp_path}/server.key\n"
        "require_certificate true\nuse_identity_as_username true\n",
    )
    stranger = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    assert connect(broker, stranger) == b""

    known = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    known.load_cert_chain(tmp_path / "client.pem")
    assert connect(broker, known) == ACCEPTED


def test_bad_configuration_says_what_is_bad(start_mosquitto: StartMosquitto) -> None:
    with pytest.raises(ProcessError, match="no_such_option"):
        start_mosquitto(config="no_such_option 1\n")
