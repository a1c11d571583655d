"""Fixtures for every test: an API server, a broker, names of one's own, and a look for leftovers.

A part is started by the first test that asks for it and serves the whole session. `tests/support/doors.py`
says how it is reached; where no way is open the test is skipped, or fails when NEPTUNE_REQUIRE_REAL=1.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from neptune.testing.binaries import Binaries, find_binaries, find_kubectl
from neptune.testing.envtest import ControlPlane
from neptune.testing.gobuild import BuildError, build
from tests.support.doors import (
    NO_API_SERVER,
    NO_BROKER,
    NO_KUBECTL,
    NO_MOSQUITTO,
    Door,
    Way,
    api_server_door,
    broker_door,
    find_mosquitto,
)
from tests.support.kubectl import kubectl
from tests.support.missing import missing
from tests.support.mosquitto import ANYBODY, Broker, Mosquitto
from tests.support.s3 import NO_S3, S3Server, find_s3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A shell that starts this with `&` has it ignore Ctrl-C, and with it every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["tests.support.datasets", "tests.support.leftovers"]


@functools.cache
def _docker() -> bool:
    from tests.support import containers

    return containers.docker_answers()


@functools.cache
def _api_server_door() -> Door | None:
    return api_server_door(os.environ, docker=_docker)


@functools.cache
def _broker_door() -> Door | None:
    return broker_door(os.environ, docker=_docker)


def pytest_report_header() -> list[str]:
    return [f"API server: {_api_server_door() or 'none'}", f"MQTT broker: {_broker_door() or 'none'}"]


@pytest.fixture(scope="session")
def binaries(request: pytest.FixtureRequest) -> Binaries:
    """Give the executables of a control plane, built if need be, to a test that starts its own."""
    lacking = ""
    if find_binaries(os.environ) is None:
        capture = request.config.pluginmanager.getplugin("capturemanager")
        try:
            with capture.global_and_fixture_disabled():  # minutes of silence would look like a hang
                build(os.environ)
        except BuildError as error:
            lacking = str(error)
    found = find_binaries(os.environ)
    if found is None:
        missing(f"no control plane of our own: {lacking}")
    return found


@pytest.fixture(scope="session")
def control_plane(binaries: Binaries) -> Iterator[ControlPlane]:
    """Give the session's control plane. It is shared: a test that restarts it starts its own."""
    with ControlPlane(binaries) as plane:
        yield plane


@pytest.fixture(scope="session")
def kubeconfig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give an administrator's kubeconfig of a real API server, however it is reached."""
    door = _api_server_door()
    match door:
        case None:
            missing(NO_API_SERVER)
        case Door(Way.ADDRESS, address):
            yield Path(address)
        case Door(Way.CONTAINER, image):
            from tests.support import containers

            with containers.k3s(image, tmp_path_factory.mktemp("k3s")) as path:
                yield path
        case _:
            plane: ControlPlane = request.getfixturevalue("control_plane")
            yield plane.kubeconfig


@pytest.fixture
def namespace(kubeconfig: Path) -> str:
    """Give a namespace of the test's own. It stays: no controller would empty it."""
    if find_kubectl(os.environ) is None:
        missing(NO_KUBECTL)
    name = f"test-{uuid.uuid4().hex[:10]}"
    kubectl("create", "namespace", name, kubeconfig=kubeconfig)
    return name


@pytest.fixture
def shell_env(kubeconfig: Path, tmp_path: Path) -> dict[str, str]:
    """Give the environment of a shell whose user has a cluster and the commands."""
    executable = find_kubectl(os.environ)
    if executable is None:
        missing(NO_KUBECTL)
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), str(executable.parent), os.environ["PATH"]]),
        "KUBECONFIG": str(kubeconfig),
        # Of its own: what an earlier test made kubectl discover may be gone.
        "KUBECACHEDIR": str(tmp_path / "cache"),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker | Mosquitto]:
    """Give the session's broker, open to everybody. It is shared: a test that stops it starts its own."""
    door = _broker_door()
    match door:
        case None:
            missing(NO_BROKER)
        case Door(Way.ADDRESS, address):
            yield Broker.parse(address)
        case Door(Way.CONTAINER, image):
            from tests.support import containers

            with containers.mosquitto(image) as (host, port):
                yield Broker(host, port)
        case Door(_, executable):
            with Mosquitto(Path(executable), tmp_path_factory.mktemp("mosquitto")) as broker:
                yield broker


@pytest.fixture
def start_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Mosquitto]]:
    """Give a function that starts a broker of the test's own: `start_mosquitto(config=..., folder=...)`."""
    executable = find_mosquitto(os.environ)
    if executable is None:
        missing(NO_MOSQUITTO)
    started: list[Mosquitto] = []

    def start(*, config: str = ANYBODY, folder: Path | None = None) -> Mosquitto:
        broker = Mosquitto(executable, folder or tmp_path_factory.mktemp("mosquitto"), config=config)
        started.append(broker)
        return broker.start()

    yield start
    for broker in started:
        broker.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """Give the session's S3 server, which checks signatures. It is shared: a test uses names of its own."""
    executable = find_s3(os.environ)
    if executable is None:
        missing(NO_S3)
    with S3Server(executable, tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def topic_prefix() -> str:
    """Give the first level of topics that no other test uses."""
    return f"test-{uuid.uuid4().hex[:10]}"
