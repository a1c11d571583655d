"""Certificates between the MQTT adapter and a real mosquitto: what works, and what each refusal says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from neptune.testing.certs import Authority, KeyPair
from neptune.transport import Connected, Session
from neptune.transport.mqtt import MqttSettings, MqttTransport
from neptune.transport.retry import RetryPolicy
from tests.support.mosquitto import Mosquitto
from tests.support.transports import closing, connect, disconnected, until
from tests.support.websocket import WebSocketGateway

NOTHING = Session(filters=())
LONG_AGO = datetime.now(UTC) - timedelta(days=30)
SOME_DAY = datetime.now(UTC) + timedelta(days=30)
StartMosquitto = Callable[..., Mosquitto]


class Files:
    """An authority's certificate, a broker's and a client's pair, as files that a test may replace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        (folder / "ca.crt").write_bytes(self.authority.certificate)
        self.write("server", self.authority.server(["127.0.0.1"]))
        self.write("edge0", self.authority.client("edge0"))

    def write(self, name: str, pair: KeyPair) -> None:
        (self.folder / f"{name}.crt").write_bytes(pair.certificate)
        (self.folder / f"{name}.key").write_bytes(pair.key)

    @property
    def config(self) -> str:
        return (
            f"cafile {self.folder}/ca.crt\ncertfile {self.folder}/server.crt\nkeyfile {self.folder}/server.key\n"
            "require_certificate true\nuse_identity_as_username true\n"
        )

    def transport(self, port: int, *, ca: str = "ca.crt", client: str | None = "edge0", **more: Any) -> MqttTransport:
        retry = RetryPolicy(first_seconds=0.02, max_seconds=0.1)
        given: dict[str, Any] = {"url": f"mqtts://127.0.0.1:{port}", "client_id": "edge0", "retry": retry, **more}
        if client:
            given |= {"cert_file": self.folder / f"{client}.crt", "key_file": self.folder / f"{client}.key"}
        return MqttTransport(MqttSettings(ca_file=self.folder / ca, **given))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def reason(transport: MqttTransport) -> str:
    async with closing(transport):
        await transport.open(NOTHING)
        return (await disconnected(transport)).reason


@pytest.mark.parametrize("protocol", [5, 4])
async def test_a_certificate_is_enough_to_be_let_in(
    start_mosquitto: StartMosquitto, files: Files, protocol: int
) -> None:
    transport = files.transport(start_mosquitto(config=files.config).port, protocol=protocol)
    async with closing(transport):
        await connect(transport, Session(("t",)))


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda a: a.server(["127.0.0.1"], now=LONG_AGO), ("certificate has expired", "give the broker a new")),
        (lambda a: a.server(["127.0.0.1"], now=SOME_DAY), ("not yet valid", "is the clock of this machine right?")),
        (lambda a: a.server(["other.example"]), ("not valid for '127.0.0.1'", "issue it one for 127.0.0.1")),
        (lambda _: Authority().server(["127.0.0.1"]), ("self-signed|unable to get local issuer", "give as ca_file")),
    ],
    ids=["expired", "not yet valid", "other host", "other authority"],
)
async def test_a_brokers_certificate_that_does_not_hold_is_named_with_the_remedy(
    start_mosquitto: StartMosquitto, files: Files, made: Callable[[Authority], KeyPair], words: tuple[str, str]
) -> None:
    files.write("server", made(files.authority))
    told = await reason(files.transport(start_mosquitto(config=files.config).port))
    assert any(word in told for word in words[0].split("|")), told
    assert words[1] in told


@pytest.mark.parametrize("protocol", [5, 4])
async def test_plain_text_at_a_tls_port_is_told_from_a_second_agent(
    start_mosquitto: StartMosquitto, files: Files, protocol: Literal[4, 5]
) -> None:
    port = start_mosquitto(config=files.config).port
    told = await reason(
        MqttTransport(MqttSettings(url=f"mqtt://127.0.0.1:{port}", client_id="edge0", protocol=protocol))
    )
    assert "without an answer to CONNECT: is that its port for TLS (mqtts://, wss://)?" in told
    assert "another agent" not in told


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda a: a.client("edge0", now=LONG_AGO), "edge0.crt"),
        (lambda _: Authority().client("edge0"), "edge0.crt"),
        (None, "a client without a certificate"),
    ],
    ids=["expired", "other authority", "none"],
)
async def test_a_client_certificate_that_the_broker_refuses_is_named_with_the_remedy(
    start_mosquitto: StartMosquitto, files: Files, made: Callable[[Authority], KeyPair] | None, words: str
) -> None:
    if made:
        files.write("edge0", made(files.authority))
    port = start_mosquitto(config=files.config).port
    told = await reason(files.transport(port, client="edge0" if made else None))
    assert f"refused {'the certificate in ' if made else ''}" in told
    assert words in told
    assert "give cert_file and key_file that are valid now and signed by an authority of the broker" in told


@pytest.mark.parametrize("made", [lambda a: a.client("edge0", now=LONG_AGO), lambda _: Authority().client("edge0")])
async def test_tls_1_2_refuses_earlier_and_is_named_the_same(
    files: Files, made: Callable[[Authority], KeyPair]
) -> None:
    files.write("edge0", made(files.authority))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.folder / "ca.crt")
    context.load_cert_chain(files.folder / "server.crt", files.folder / "server.key")
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, ssl.TLSVersion.TLSv1_2
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # In a thread: asyncio's TLS keeps the alert of a failed handshake to itself.
        server = threading.Thread(target=refuse, args=(context, listener))
        server.start()
        told = await reason(files.transport(listener.getsockname()[1]))
        await asyncio.to_thread(server.join)
    assert "it refused the certificate in" in told


def refuse(context: ssl.SSLContext, listener: socket.socket) -> None:
    """Take one connection, and find its certificate wanting."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(ssl.SSLError):
        context.wrap_socket(connection, server_side=True).close()


async def test_a_certificate_that_was_renewed_on_disk_is_used_at_the_next_connection(
    start_mosquitto: StartMosquitto, files: Files
) -> None:
    files.write("edge0", files.authority.client("edge0", now=LONG_AGO))
    transport = files.transport(start_mosquitto(config=files.config).port)
    async with closing(transport):
        await transport.open(NOTHING)
        assert "refused the certificate" in (await disconnected(transport)).reason
        files.write("edge0", files.authority.client("edge0"))
        await until(transport, Connected)


async def test_a_broker_without_tls_on_that_port_is_told_apart(start_mosquitto: StartMosquitto, files: Files) -> None:
    told = await reason(files.transport(start_mosquitto().port))
    assert "check that this is its TLS port" in told


async def test_a_websocket_inside_tls_works_and_checks_the_certificate(
    start_mosquitto: StartMosquitto, files: Files
) -> None:
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(files.folder / "server.crt", files.folder / "server.key")
    (files.folder / "other.crt").write_bytes(Authority().certificate)
    async with WebSocketGateway(start_mosquitto().port, path="/broker", tls=server) as gateway:
        url = f"wss://127.0.0.1:{gateway.port}/broker"
        right = files.transport(0, client=None, url=url)
        async with closing(right):
            await connect(right, Session(("t",)))
        assert "give as ca_file" in await reason(files.transport(0, client=None, url=url, ca="other.crt"))
