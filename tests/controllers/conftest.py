"""A namespace on a real API server that knows Datasets, and a broker in this process."""

from __future__ import annotations

import pytest

from neptune.runtime import Client
from neptune.transport.broker import BrokerCore
from tests.controllers.cluster import Cluster


@pytest.fixture
async def cluster(client: Client, namespace: str) -> Cluster:
    return Cluster(client, namespace)


@pytest.fixture
def broker() -> BrokerCore:
    return BrokerCore()
