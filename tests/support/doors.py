"""The ways to a real API server and a real broker, in order. Decides; the fixtures start what it names.

1. An address in the environment: NEPTUNE_TEST_KUBECONFIG, NEPTUNE_TEST_BROKER.
2. Executables (`neptune.testing.binaries`; mosquitto on PATH or in Debian's folder for servers).
3. Containers, where Docker answers.
4. The API server only: built from Go modules (`neptune.testing.gobuild`).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from neptune.testing.binaries import find_binaries
from neptune.testing.gobuild import RECIPE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

K3S_IMAGE = "rancher/k3s:v1.36.4-k3s1"
MOSQUITTO_IMAGE = "eclipse-mosquitto:2"

#: Where Debian keeps servers; a user's PATH may not lead there.
SERVER_FOLDERS = ("/usr/sbin", "/usr/local/sbin")

NO_API_SERVER = (
    "no API server: set NEPTUNE_TEST_KUBECONFIG, or KUBEBUILDER_ASSETS to a folder with etcd and"
    " kube-apiserver, or start Docker, or install Go and run `make envtest`"
)
NO_KUBECTL = "no kubectl: put one into PATH or KUBEBUILDER_ASSETS, or install Go and run `make envtest`"
NO_BROKER = (
    "no MQTT broker: set NEPTUNE_TEST_BROKER to host:port, or install mosquitto (on Debian, `make envtest` as"
    " root does), or start Docker"
)
NO_MOSQUITTO = (
    "this test configures its broker, so it needs mosquitto as an executable: install it"
    " (on Debian, `make envtest` as root does)"
)


class Way(StrEnum):
    """How a part is reached."""

    ADDRESS = "address from the environment"
    EXECUTABLE = "executable"
    CONTAINER = "container"
    BUILD = "built from Go modules"


@dataclass(frozen=True, slots=True)
class Door:
    """A way that is open, and where it leads: an address, a path or an image."""

    way: Way
    target: str

    def __str__(self) -> str:
        return f"{self.target} ({self.way})"


def api_server_door(environ: Mapping[str, str], *, docker: Callable[[], bool], recipe: Path = RECIPE) -> Door | None:
    """Return the first open way to an API server, or None. `docker` is asked only when it is its turn."""
    if address := environ.get("NEPTUNE_TEST_KUBECONFIG"):
        return Door(Way.ADDRESS, address)
    if found := find_binaries(environ, recipe):
        return Door(Way.EXECUTABLE, str(found.kube_apiserver))
    if docker():
        return Door(Way.CONTAINER, K3S_IMAGE)
    if shutil.which("go", path=environ.get("PATH", "")) and recipe.is_dir():
        return Door(Way.BUILD, str(recipe))
    return None


def broker_door(
    environ: Mapping[str, str], *, docker: Callable[[], bool], server_folders: Sequence[str] = SERVER_FOLDERS
) -> Door | None:
    """Return the first open way to a broker, or None."""
    if address := environ.get("NEPTUNE_TEST_BROKER"):
        return Door(Way.ADDRESS, address)
    if found := find_mosquitto(environ, server_folders):
        return Door(Way.EXECUTABLE, str(found))
    if docker():
        return Door(Way.CONTAINER, MOSQUITTO_IMAGE)
    return None


def find_mosquitto(environ: Mapping[str, str], server_folders: Sequence[str] = SERVER_FOLDERS) -> Path | None:
    """Return the broker's executable, or None."""
    found = shutil.which("mosquitto", path=os.pathsep.join([environ.get("PATH", ""), *server_folders]))
    return None if found is None else Path(found)
