"""An API server and a broker in containers, where Docker answers. The one door to testcontainers.

Imported only when this way is tried: the library costs half a second and needs Docker's client.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import warnings
from typing import TYPE_CHECKING

import docker
from docker.errors import DockerException
from testcontainers.community.k3s import K3SContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import LogMessageWaitStrategy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def docker_answers() -> bool:
    """Tell whether a Docker daemon answers now."""
    with warnings.catch_warnings():
        # Docker's client leaves the socket of a refused connection to the collector, which warns of it.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            with contextlib.closing(docker.from_env(timeout=5)) as client:
                return bool(client.ping())
        except (DockerException, OSError):
            return False
        finally:
            gc.collect()


@contextlib.contextmanager
def k3s(image: str, folder: Path) -> Iterator[Path]:
    """Run a k3s server; the value is an administrator's kubeconfig inside `folder`."""
    container = K3SContainer(image)
    try:
        with warnings.catch_warnings():
            # The library waits for k3s in a way that it has itself deprecated; warnings are errors here.
            warnings.simplefilter("ignore", DeprecationWarning)
            container.start()
        kubeconfig = folder / "k3s.kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(container.config_yaml())
        yield kubeconfig
    finally:
        container.stop()


@contextlib.contextmanager
def mosquitto(image: str) -> Iterator[tuple[str, int]]:
    """Run a broker that lets everybody in; the value is its host and port."""
    container = (
        DockerContainer(image)
        # A file of the image: a listener on all of the container's addresses, no names or passwords.
        .with_command("mosquitto -c /mosquitto-no-auth.conf")
        .with_exposed_ports(1883)
        .waiting_for(LogMessageWaitStrategy("mosquitto version .* running"))
    )
    with container:
        host, port = container.get_container_host_ip(), container.get_exposed_port(1883)
        _check_reachable(host, port)
        yield host, port


def _check_reachable(host: str, port: int) -> None:
    """Raise a ConnectionError where the library guessed another address than the one that Docker publishes at.

    It takes a machine with a file `/.dockerenv` for a container, and then names the bridge's gateway.
    """
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise ConnectionError(
            f"the container started, but {host}:{port} does not answer ({error}): if Docker publishes ports on"
            " this machine's loopback, set TESTCONTAINERS_CONNECTION_MODE=docker_host"
        ) from error
