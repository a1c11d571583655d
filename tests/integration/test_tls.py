"""The way that docs/brokers.md tells: `neptune certs`, the shipped mosquitto configuration, and the two programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from neptune.testing.processes import Process
from tests.cli.test_neptune import neptune
from tests.integration.world import World
from tests.support import hardened
from tests.support.mosquitto import Mosquitto


@dataclass
class TlsWorld(World):
    """A world whose broker wants certificates, which are in `certs`."""

    certs: Path = Path()

    @property
    def broker_url(self) -> str:
        return f"mqtts://127.0.0.1:{self.broker.port}"

    def with_certificate(self, name: str) -> list[str]:
        files = {"ca-file": "ca.crt", "cert-file": f"{name}.crt", "key-file": f"{name}.key"}
        return [word for flag, file in files.items() for word in (f"--{flag}", str(self.certs / file))]

    def edge(self, node: str) -> Process:
        return self.start_edge(node, *self.with_certificate(node))


def make(certs: Path, *words: str) -> None:
    done = neptune("certs", *words, "--output-dir", str(certs))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def tls_world(
    crds: None,
    kubeconfig: Path,
    namespace: str,
    start_mosquitto: Callable[..., Mosquitto],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[TlsWorld]:
    certs = tmp_path_factory.mktemp("certs")
    for words in (["init"], ["server", "127.0.0.1"], ["cloud"], ["node", "edge0"]):
        make(certs, *words)
    broker = start_mosquitto(config=hardened.config(certs))
    world = TlsWorld(kubeconfig, namespace, broker, tmp_path, certs=certs)
    yield world
    world.stop()


def test_a_number_travels_over_certificates_and_a_renewed_one_is_picked_up(tls_world: TlsWorld) -> None:
    tls_world.start_cloud(*tls_world.with_certificate("neptune-cloud"))
    tls_world.edge("edge0")
    tls_world.apply("data", tls_world.write("data.txt", "1\n2\n"), "edge0")
    tls_world.expect_samples("data", 2)
    make(tls_world.certs, "node", "edge0", "--renew")
    tls_world.broker.restart()
    tls_world.append("data.txt", "3\n")
    tls_world.expect_samples("data", 3)


def test_an_agent_with_the_certificate_of_another_node_is_told_what_may_be_wrong(tls_world: TlsWorld) -> None:
    tls_world.start_edge("edge1", *tls_world.with_certificate("edge0"))
    line = tls_world.expect_log("edge1", "publish denied")
    assert "let this node's user write to the topic in the access list of the broker" in line
