"""One broker with transports on it, and what a test may do to both; the same words for each implementation."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Literal, Protocol

from neptune.embedded.broker import EmbeddedBroker
from neptune.transport import Transport
from neptune.transport.broker import BrokerCore
from neptune.transport.memory import MemoryTransport
from neptune.transport.mqtt import MqttSettings, MqttTransport
from neptune.transport.retry import RetryPolicy
from tests.support.mosquitto import Broker, Mosquitto
from tests.support.proxy import Proxy
from tests.support.websocket import WebSocketGateway

KINDS = ("memory", "embedded-5", "embedded-4", "mosquitto-5", "mosquitto-4", "mosquitto-5-websocket")

_RETRY_SECONDS = 0.05


class Bench(Protocol):
    """A broker, its transports, and their mishaps."""

    knows_reasons: bool
    """Whether answers tell reasons, and messages expire: everywhere but with MQTT 3.1.1."""

    def transport(self, *, client_id: str | None = None, retry_seconds: float = _RETRY_SECONDS) -> Transport:
        """Make a transport; `retry_seconds` is the most that it waits between attempts."""
        ...

    async def cuttable_transport(self) -> Transport:
        """Make a transport for `cut`."""
        ...

    async def cut(self, transport: Transport) -> None:
        """Break its connection, so that neither side gets to say goodbye."""
        ...

    async def stop_broker(self) -> None: ...

    async def start_broker(self) -> None: ...

    async def pass_time(self, seconds: float) -> None:
        """Let the broker's clock move on."""
        ...


class _Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.now(UTC)


class _MemoryBench:
    knows_reasons = True

    def __init__(self) -> None:
        self._clock = _Clock()
        self._broker = BrokerCore(clock=self._clock)
        self._ids: dict[Transport, str] = {}

    def transport(self, *, client_id: str | None = None, retry_seconds: float = _RETRY_SECONDS) -> Transport:
        client_id = client_id or _new_id()
        transport = MemoryTransport(self._broker, client_id, retry=RetryPolicy(retry_seconds, retry_seconds))
        self._ids[transport] = client_id
        return transport

    async def cuttable_transport(self) -> Transport:
        return self.transport()

    async def cut(self, transport: Transport) -> None:
        self._broker.cut(self._ids[transport])

    async def stop_broker(self) -> None:
        self._broker.stop()

    async def start_broker(self) -> None:
        self._broker.start()

    async def pass_time(self, seconds: float) -> None:
        self._clock.seconds += seconds


class _MqttBench:
    def __init__(
        self,
        broker: EmbeddedBroker | Broker | Mosquitto,
        protocol: Literal[4, 5],
        stack: AsyncExitStack,
        gateway: WebSocketGateway | None = None,
    ) -> None:
        self._broker = broker
        self._scheme = "ws" if gateway else "mqtt"
        self._host = broker.host if isinstance(broker, Broker) and not gateway else "127.0.0.1"
        self._port = gateway.port if gateway else broker.port
        self._protocol = protocol
        self._stack = stack
        self._proxies: dict[Transport, Proxy] = {}
        self.knows_reasons = protocol == 5

    def transport(self, *, client_id: str | None = None, retry_seconds: float = _RETRY_SECONDS) -> Transport:
        return self._make(self._host, self._port, client_id or _new_id(), retry_seconds)

    def _make(self, host: str, port: int, client_id: str, retry_seconds: float) -> MqttTransport:
        retry = RetryPolicy(retry_seconds, retry_seconds)
        url = f"{self._scheme}://{host}:{port}"
        settings = MqttSettings(url=url, client_id=client_id, protocol=self._protocol, retry=retry)
        return MqttTransport(settings)

    async def cuttable_transport(self) -> Transport:
        proxy = await self._stack.enter_async_context(Proxy(self._port, self._host))
        transport = self._make("127.0.0.1", proxy.port, _new_id(), _RETRY_SECONDS)
        self._proxies[transport] = proxy
        return transport

    async def cut(self, transport: Transport) -> None:
        await self._proxies[transport].cut()

    async def stop_broker(self) -> None:
        if isinstance(self._broker, EmbeddedBroker):
            await self._broker.close()
        else:
            assert isinstance(self._broker, Mosquitto)
            await asyncio.to_thread(self._broker.kill)

    async def start_broker(self) -> None:
        if isinstance(self._broker, EmbeddedBroker):
            await self._broker.start()
        else:
            assert isinstance(self._broker, Mosquitto)
            await asyncio.to_thread(self._broker.start)

    async def pass_time(self, seconds: float) -> None:
        await asyncio.sleep(seconds)  # a real broker's clock cannot be moved by hand


@asynccontextmanager
async def make_bench(kind: str, mosquitto: Broker | Mosquitto | None) -> AsyncIterator[Bench]:
    """Set up a bench of one of `KINDS`; the mosquitto kinds get a running one."""
    name, *rest = kind.split("-")
    protocol: Literal[4, 5] = 4 if "4" in rest else 5
    async with AsyncExitStack() as stack:
        if name == "memory":
            yield _MemoryBench()
        elif name == "embedded":
            broker = EmbeddedBroker()
            stack.push_async_callback(broker.close)
            await broker.start()
            yield _MqttBench(broker, protocol, stack)
        else:
            assert mosquitto is not None
            gateway = None
            if "websocket" in rest:
                gateway = await stack.enter_async_context(WebSocketGateway(mosquitto.port, mosquitto.host))
            yield _MqttBench(mosquitto, protocol, stack, gateway)


def _new_id() -> str:
    return f"client-{uuid.uuid4().hex[:10]}"
