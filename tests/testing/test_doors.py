from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.doors import K3S_IMAGE, MOSQUITTO_IMAGE, Door, Way, api_server_door, broker_door
from tests.support.mosquitto import Broker

if TYPE_CHECKING:
    from pathlib import Path


def yes() -> bool:
    return True


def no() -> bool:
    return False


def never() -> bool:
    pytest.fail("Docker was asked although an earlier door is open")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Describe a machine with everything: two addresses, all executables and Go."""
    for name in ("etcd", "kube-apiserver", "mosquitto", "go"):
        (tmp_path / name).touch(mode=0o755)
    return {
        "NEPTUNE_TEST_KUBECONFIG": "/etc/kubeconfig",
        "NEPTUNE_TEST_BROKER": "broker:1884",
        "PATH": str(tmp_path),
        "XDG_CACHE_HOME": "/nowhere",
    }


def test_api_server_doors_are_tried_in_order(environ: dict[str, str], tmp_path: Path) -> None:
    assert api_server_door(environ, docker=never) == Door(Way.ADDRESS, "/etc/kubeconfig")
    del environ["NEPTUNE_TEST_KUBECONFIG"]
    assert api_server_door(environ, docker=never) == Door(Way.EXECUTABLE, str(tmp_path / "kube-apiserver"))
    (tmp_path / "etcd").unlink()
    assert api_server_door(environ, docker=yes) == Door(Way.CONTAINER, K3S_IMAGE)
    assert api_server_door(environ, docker=no, recipe=tmp_path) == Door(Way.BUILD, str(tmp_path))
    (tmp_path / "go").unlink()
    assert api_server_door(environ, docker=no, recipe=tmp_path) is None


def test_broker_doors_are_tried_in_order(environ: dict[str, str], tmp_path: Path) -> None:
    assert broker_door(environ, docker=never) == Door(Way.ADDRESS, "broker:1884")
    del environ["NEPTUNE_TEST_BROKER"]
    assert broker_door(environ, docker=never) == Door(Way.EXECUTABLE, str(tmp_path / "mosquitto"))
    environ["PATH"] = ""
    assert broker_door(environ, docker=never, server_folders=[str(tmp_path)]) == Door(
        Way.EXECUTABLE, str(tmp_path / "mosquitto")
    )
    assert broker_door(environ, docker=yes, server_folders=[]) == Door(Way.CONTAINER, MOSQUITTO_IMAGE)
    assert broker_door(environ, docker=no, server_folders=[]) is None


@pytest.mark.parametrize(
    ("address", "broker"),
    [
        ("broker:1884", Broker("broker", 1884)),
        ("mqtt://broker:1884/", Broker("broker", 1884)),
        ("broker", Broker("broker", 1883)),
    ],
)
def test_broker_address_is_read_with_and_without_scheme_and_port(address: str, broker: Broker) -> None:
    assert Broker.parse(address) == broker
