"""A broker in memory, and a cloud on it that hands out tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from neptune.protocol.topics import Topics
from neptune.transport.broker import BrokerCore
from tests.edge.bench import Cloud, memory, running_cloud


@pytest.fixture
def broker() -> BrokerCore:
    return BrokerCore()


@pytest.fixture
async def cloud(broker: BrokerCore) -> AsyncIterator[Cloud]:
    async with running_cloud(memory(broker, "cloud"), Topics()) as cloud:
        yield cloud
