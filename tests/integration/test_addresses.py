"""Two brokers behind one setting, as a cluster has them: the programs leave the dead one for the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.world import World
from tests.support.mosquitto import Mosquitto


@dataclass
class TwoBrokers(World):
    """A world with a second broker."""

    second: Mosquitto | None = None

    @property
    def broker_url(self) -> str:
        assert self.second is not None
        return ",".join(f"mqtt://127.0.0.1:{broker.port}" for broker in (self.broker, self.second))


@pytest.fixture
def two_brokers(
    crds: None, kubeconfig: Path, namespace: str, start_mosquitto: Callable[..., Mosquitto], tmp_path: Path
) -> Iterator[TwoBrokers]:
    world = TwoBrokers(kubeconfig, namespace, start_mosquitto(), tmp_path, second=start_mosquitto())
    yield world
    world.stop()


def test_both_programs_go_on_at_the_next_address(two_brokers: TwoBrokers) -> None:
    two_brokers.start_cloud()
    two_brokers.start_edge("edge0")
    two_brokers.apply("data", two_brokers.write("data.txt", "1\n"), "edge0")
    two_brokers.expect_samples("data", 1)
    two_brokers.broker.kill()
    two_brokers.append("data.txt", "2\n")
    two_brokers.expect_samples("data", 2)
