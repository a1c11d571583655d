"""An API server and a broker in containers, where Docker answers. The one door to testcontainers.

Imported only when this way is taken: the library costs half a second and needs Docker's client.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import docker
from docker.errors import DockerException
from testcontainers.community.k3s import K3SContainer
from testcontainers.community.mqtt import MosquittoContainer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def docker_answers() -> bool:
    """Tell whether a Docker daemon answers now."""
    try:
        client = docker.from_env(timeout=5)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


@contextmanager
def k3s(image: str, folder: Path) -> Iterator[Path]:
    """Run a k3s server; the value is an administrator's kubeconfig inside `folder`."""
    with K3SContainer(image) as container:
        kubeconfig = folder / "k3s.kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(container.config_yaml())
        yield kubeconfig


@contextmanager
def mosquitto(image: str) -> Iterator[tuple[str, int]]:
    """Run a broker that lets everybody in; the value is its host and port."""
    with MosquittoContainer(image) as container:
        yield container.get_container_host_ip(), container.get_exposed_port(MosquittoContainer.MQTT_PORT)
