"""A `Havoc` for each test: the session's API server behind a proxy, a broker of its own behind another."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from neptune.api import FederatedTask, Model, crd_for
from neptune.runtime import Client
from tests.chaos.havoc import FILES, NODES, Havoc, Ruins, random_of_the_run, through
from tests.support.kubectl import kubectl
from tests.support.mosquitto import Mosquitto
from tests.support.mounts import small_mount
from tests.support.proxy import Proxy

#: Room for the state of a node and little more.
DISK_KILOBYTES = 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of its own, which a test can fill; only root can make one."""
    folder = tmp_path / NODES[0]
    folder.mkdir()
    with small_mount(folder, kilobytes=DISK_KILOBYTES):
        yield folder


@pytest.fixture(scope="session")
def with_tasks(with_datasets: Path) -> Path:
    """Give the kubeconfig of a server that serves tasks and their models, too."""
    for cls in (Model, FederatedTask):
        kubectl("apply", "-f", "-", kubeconfig=with_datasets, stdin=json.dumps(crd_for(cls)))
        crd = f"crd/{cls.resource.plural}.{cls.resource.group}"
        kubectl("wait", "--for=condition=Established", crd, kubeconfig=with_datasets)
    return with_datasets


@pytest.fixture
async def havoc(
    with_tasks: Path, namespace: str, start_mosquitto: Callable[..., Mosquitto], small_disk: Path, tmp_path: Path
) -> AsyncIterator[Havoc]:
    """Give a world whose programs run, and a seeded Random."""
    config = yaml.safe_load(with_tasks.read_text())
    server = urlsplit(config["clusters"][0]["cluster"]["server"])
    mosquitto = start_mosquitto()
    client = Client(with_tasks)
    async with Proxy(server.port or 443, server.hostname or "") as api, Proxy(mosquitto.port) as broker:
        world = Ruins(
            with_tasks,
            namespace,
            mosquitto,
            tmp_path,
            to_broker=broker.port,
            cloud_kubeconfig=through(with_tasks, api, tmp_path / "kubeconfig"),
        )
        for number in range(FILES):
            world.write(f"{number}.txt", "line\n" * number)
        try:
            world.start_cloud()
            for node in NODES:
                world.start_edge(node)
            yield Havoc(world, client, api, broker, random_of_the_run(), small_disk)
        finally:
            world.stop()
            await client.close()
