"""A real API server that knows the kinds of a cloud controller, and a client for it."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from neptune.api import Dataset, FederatedTask, Model, crd_for
from neptune.runtime import Client
from tests.support.kubectl import KubectlError, kubectl


@pytest.fixture(scope="session")
def with_datasets(kubeconfig: Path) -> Path:
    """Give the kubeconfig of a server that serves Datasets, and the other kinds that a cloud controller watches."""
    crds = [crd_for(kind) for kind in (Dataset, FederatedTask, Model)]
    whole = json.dumps({"apiVersion": "v1", "kind": "List", "items": crds})
    kubectl("apply", "-f", "-", kubeconfig=kubeconfig, stdin=whole)
    names = [f"crd/{crd['metadata']['name']}" for crd in crds]
    kubectl("wait", "--for=condition=Established", *names, kubeconfig=kubeconfig)
    # An established kind is answered 429 for a moment more, while its storage is initialised.
    deadline = time.monotonic() + 20
    while True:
        try:
            kubectl("get", "datasets,federatedtasks,models", "--all-namespaces", kubeconfig=kubeconfig)
        except KubectlError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return kubeconfig


@pytest.fixture
async def client(with_datasets: Path) -> AsyncIterator[Client]:
    client = Client(with_datasets)
    yield client
    await client.close()
