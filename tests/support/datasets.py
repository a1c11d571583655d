"""A real API server that knows Datasets, and a client for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neptune.api import Dataset, crd_for
from neptune.runtime import Client
from tests.support.kubectl import kubectl


@pytest.fixture(scope="session")
def with_datasets(kubeconfig: Path) -> Path:
    """Give the kubeconfig of a server on which the CRD of Dataset is established."""
    kubectl("apply", "-f", "-", kubeconfig=kubeconfig, stdin=json.dumps(crd_for(Dataset)))
    kubectl("wait", "--for=condition=Established", "crd/datasets.neptune.io", kubeconfig=kubeconfig)
    return kubeconfig


@pytest.fixture
async def client(with_datasets: Path) -> AsyncIterator[Client]:
    client = Client(with_datasets)
    yield client
    await client.close()
