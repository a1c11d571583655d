"""A namespace on a real API server that knows Datasets, Models and FederatedTasks, and a broker in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from neptune.api import FederatedTask, Model
from neptune.runtime import Client
from neptune.testing.crds import install_crds
from neptune.transport.broker import BrokerCore
from tests.controllers.nodes import Time
from tests.controllers.tasks.bench import Bench, running


@pytest.fixture
async def bench(client: Client, namespace: str, broker: BrokerCore) -> Bench:
    await install_crds(client, Model, FederatedTask)
    return Bench(client, namespace, broker, Time())


@pytest.fixture
async def cloud(bench: Bench) -> AsyncIterator[Bench]:
    """Give the bench with a cloud controller that serves FederatedTasks."""
    async with running(bench):
        yield bench
