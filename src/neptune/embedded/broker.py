"""An MQTT 3.1.1 and 5 broker for one machine, in this process: for the demo, tests, and the agent's `internal` mode.

Not for production clusters: one process, nothing on disk, no clustering. Sessions are never kept: each connection
starts clean, whatever it asks for, and nothing waits for a client that is away. Quality of service is 1 at most.
Where it differs from mosquitto in what the link needs, it is wrong; tests/contract compares them.
Neighbours: `mqtt.connection` speaks with one client; `transport.broker.BrokerCore` is the logic, shared with the
in-memory transport; `transport.acl` makes `authorize` functions.
"""

from __future__ import annotations

import asyncio
import hmac
import ssl as tls
from collections.abc import Mapping
from contextlib import suppress

from neptune.embedded.mqtt.connection import CONNECT_SECONDS, Authenticate, Connection, Credentials, Service
from neptune.transport.broker import BrokerCore
from neptune.transport.broker_types import Authorize, BrokerStatistics, Limits

__all__ = ["Authenticate", "Credentials", "EmbeddedBroker", "passwords"]

_CLOSE_SECONDS = 2.0


def passwords(known: Mapping[str, str]) -> Authenticate:
    """Return a function for `EmbeddedBroker(authenticate=...)` that lets in who knows the password of a user."""

    def authenticate(credentials: Credentials) -> bool:
        expected = known.get(credentials.username or "")
        given = credentials.password or b""
        return expected is not None and hmac.compare_digest(expected.encode(), given)

    return authenticate


class EmbeddedBroker:
    """Listens on one address. `start` and `close` may alternate; the port stays."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        ssl: tls.SSLContext | None = None,
        authenticate: Authenticate | None = None,
        authorize: Authorize | None = None,
        limits: Limits | None = None,
        max_packet_bytes: int = 2**20,
    ) -> None:
        """Start nothing yet.

        Args:
            host: the address to listen on.
            port: 0 for any free one.
            ssl: for TLS; with `verify_mode=CERT_REQUIRED` clients need a certificate of its authorities.
            authenticate: decides who may connect; everybody without it.
            authorize: decides who may do what (`neptune.transport.acl`); everybody everything without it.
            limits: what one client may make the broker keep.
            max_packet_bytes: a client that sends more is disconnected.
        """
        self._host = host
        self._port = port
        self._ssl = ssl
        #: The logic, for clients in this process (`neptune.transport.memory`).
        self.core = BrokerCore(authorize=authorize, limits=limits)
        self._service = Service(self.core, authenticate, max_packet_bytes, (limits or Limits()).connections, set())
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The TCP port; with `port=0` known after `start`."""
        return self._port

    @property
    def url(self) -> str:
        """The address in the form that `MqttSettings` takes."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'mqtts' if self._ssl else 'mqtt'}://{host}:{self._port}"

    def statistics(self) -> BrokerStatistics:
        """Return what the broker did since it was made, and who is connected now."""
        return self.core.statistics()

    async def start(self) -> None:
        """Listen. Return when clients can connect.

        Raises:
            OSError: the address cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        self.core.start()
        self._server = await loop.create_server(
            lambda: Connection(self._service),
            self._host,
            self._port,
            ssl=self._ssl,
            ssl_handshake_timeout=CONNECT_SECONDS if self._ssl else None,
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End all connections, tell MQTT 5 clients why, and forget retained messages. Idempotent."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        self.core.stop()
        connections = set(self._service.connections)
        for connection in connections:
            connection.shut()
        if connections:
            await asyncio.wait({connection.closed for connection in connections}, timeout=_CLOSE_SECONDS)
        # From Python 3.12 on this waits for handshakes of TLS too, which a silent client can draw out.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await server.wait_closed()
