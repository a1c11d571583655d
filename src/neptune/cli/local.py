"""Where an agent serves programs on its node, by `--broker-mode`: with KubeEdge EventBus's words and ports.

Imported only where there is such a side: an agent without one has neither a broker nor this in memory.
Neighbours: `edge.localside` serves; `embedded.broker` is the broker inside the agent. Both meet here only.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from neptune.cli.settings import Values
from neptune.edge.localside import LocalSide
from neptune.embedded.broker import EmbeddedBroker
from neptune.errors import SettingsError
from neptune.log import get_logger
from neptune.transport import Transport
from neptune.transport.acl import Rule, authorize_by
from neptune.transport.broker_types import Action, Limits, Peer
from neptune.transport.memory import MemoryTransport

#: The internal broker has no passwords, so it is for this machine only.
HOST = "127.0.0.1"
#: What programs may make the agent keep: it has 35 MB in all.
LIMITS = Limits(queue_messages=200, queue_bytes=2**20, filters=100, retained=0, connections=100)


@asynccontextmanager
async def serving(values: Values, transport: Transport) -> AsyncIterator[tuple[Transport, LocalSide]]:
    """Serve programs as the settings say; give the link's transport to use, and what the agent has to tell.

    Raises:
        SettingsError: the internal broker cannot listen.
    """
    mode, side = values["broker-mode"], LocalSide(values["topic-prefix"])
    async with AsyncExitStack() as stack:
        if mode in {"internal", "both"}:
            await stack.enter_async_context(_internal(side, values["internal-port"]))
        if mode in {"external", "both"}:
            transport = await stack.enter_async_context(side.on_shared_broker(transport))
        yield transport, side


@asynccontextmanager
async def _internal(side: LocalSide, port: int) -> AsyncIterator[None]:
    # A secret: a program that knew it could throw the agent out of its own broker, or speak for it.
    us = f"agent-{secrets.token_hex(16)}"
    rules = [Rule("read", topic_filter) for topic_filter in side.view.readable]
    rules += [Rule("write", topic_filter) for topic_filter in side.view.filters]
    allowed = authorize_by(rules)

    def authorize(peer: Peer, action: Action, topic: str) -> bool:
        return peer.client_id == us or allowed(peer, action, topic)

    broker = EmbeddedBroker(HOST, port, authorize=authorize, limits=LIMITS)
    try:
        await broker.start()
    except OSError as error:
        raise SettingsError(
            f"the internal broker cannot listen on {HOST}:{port} ({error.strerror}): "
            "stop what does, or give another --internal-port"
        ) from error
    get_logger().info("internal broker listens", url=broker.url)
    try:
        async with side.on_own_broker(MemoryTransport(broker.core, us)):
            yield
    finally:
        await broker.close()
