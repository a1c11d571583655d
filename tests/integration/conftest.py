"""A `World` for each test: the session's API server, a namespace and a broker of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_neptune import neptune
from tests.integration.world import TlsWorld, World
from tests.support import hardened
from tests.support.kubectl import kubectl
from tests.support.mosquitto import Mosquitto

CRDS = Path(__file__).parents[2] / "deploy" / "crds"


@pytest.fixture(scope="session")
def crds(kubeconfig: Path) -> None:
    """Install the CRDs as a user does."""
    install_crds(kubeconfig)


def install_crds(kubeconfig: Path) -> None:
    kubectl("apply", "--server-side", "-f", str(CRDS), kubeconfig=kubeconfig)
    kubectl("wait", "--for=condition=Established", "-f", str(CRDS), kubeconfig=kubeconfig)


@pytest.fixture
def world(
    crds: None, kubeconfig: Path, namespace: str, start_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> Iterator[World]:
    """Give a world whose programs are not started yet."""
    built = World(kubeconfig, namespace, start_mosquitto(), tmp_path)
    yield built
    built.stop()


@pytest.fixture
def tls_world(
    crds: None,
    kubeconfig: Path,
    namespace: str,
    start_mosquitto: Callable[..., Mosquitto],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TlsWorld]:
    """Give a world whose broker wants certificates, with those of the cloud and of edge0."""
    certs = tmp_path_factory.mktemp("certs")
    for words in (["init"], ["server", "127.0.0.1"], ["cloud"], ["node", "edge0"]):
        done = neptune("certs", *words, "--output-dir", str(certs))
        assert done.returncode == 0, done.stderr
    broker = start_mosquitto(config=hardened.config(certs))
    world = TlsWorld(kubeconfig, namespace, broker, tmp_path, certs=certs)
    yield world
    world.stop()
