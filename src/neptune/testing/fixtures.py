"""pytest fixtures for tests of a controller. One line in `conftest.py` brings them: it is not done for everybody.

    pytest_plugins = ["neptune.testing.fixtures"]

    @pytest.fixture(scope="session")
    def crd_classes():
        return [Widget]

An entry point would load them, and aiohttp with them, into each pytest run of each environment that has the library.
With pytest-xdist each worker starts a control plane of its own, on ports of its own. The executables are found as
`binaries` says; with USE_EXISTING_CLUSTER=true nothing is started, and the cluster of KUBECONFIG or ~/.kube/config is
used. Neighbours: `envtest` is the real server, `neptune.embedded` the quick one, `crds` prepares both.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio

from neptune.api.core import Namespace
from neptune.api.meta import ObjectMeta, Resource, ResourceKey
from neptune.embedded.apiserver.http import EmbeddedApiServer
from neptune.runtime.client import Client
from neptune.testing.binaries import find_binaries
from neptune.testing.crds import install_crds
from neptune.testing.envtest import ControlPlane
from neptune.testing.rbac import Rule, grant

T = TypeVar("T")
#: `api_user(name, rules, namespace="")`; see the fixture.
MakeUser = Callable[..., Path]

NO_BINARIES = (
    "there is no etcd and kube-apiserver: set KUBEBUILDER_ASSETS to a folder with both, such as the one that "
    "`setup-envtest use -p path` prints, or USE_EXISTING_CLUSTER=true to use the cluster of your kubeconfig"
)


def use_existing_cluster() -> bool:
    """Tell whether USE_EXISTING_CLUSTER says so, in the spelling that controller-runtime's envtest takes."""
    return os.environ.get("USE_EXISTING_CLUSTER", "").lower() == "true"


@pytest.fixture(scope="session")
def crd_classes() -> Sequence[type[Resource]]:
    """Override this to give the classes whose CRDs the servers shall have."""
    return ()


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane | None]:
    """Give the session's control plane, or None with USE_EXISTING_CLUSTER=true.

    It is shared by the tests of a session: one that stops or restarts it starts its own.
    """
    if use_existing_cluster():
        yield None
        return
    found = find_binaries(os.environ)
    if found is None:
        pytest.fail(NO_BINARIES, pytrace=False)
    with ControlPlane(found) as plane:
        yield plane


@pytest.fixture(scope="session")
def kubeconfig(control_plane: ControlPlane | None, crd_classes: Sequence[type[Resource]]) -> Path:
    """Give the kubeconfig of an administrator of a server that has the CRDs of `crd_classes`."""
    if control_plane is None:
        path = Path(os.environ.get("KUBECONFIG") or "~/.kube/config").expanduser()
    else:
        path = control_plane.kubeconfig

    async def install() -> None:
        async with _client(path) as client:
            await install_crds(client, *crd_classes)

    _run(install())
    return path


@pytest_asyncio.fixture
async def client(kubeconfig: Path) -> AsyncIterator[Client]:
    """Give a client of the administrator, closed after the test."""
    async with _client(kubeconfig) as client:
        yield client


@pytest.fixture
def namespace(kubeconfig: Path) -> Iterator[str]:
    """Give the name of a namespace of the test's own, deleted afterwards.

    A control plane without controllers never finishes the deletion, so that what is in it stays until the session ends.
    """
    name = f"test-{uuid.uuid4().hex[:10]}"

    async def create() -> None:
        async with _client(kubeconfig) as client:
            await client.create(Namespace(metadata=ObjectMeta(name=name)))

    async def delete() -> None:
        async with _client(kubeconfig) as client:
            await client.delete(Namespace, ResourceKey("", name))

    _run(create())
    yield name
    _run(delete())


@pytest.fixture
def api_user(control_plane: ControlPlane | None, kubeconfig: Path) -> MakeUser:
    """Give a function that makes a user with rights of its own, and returns the user's kubeconfig.

    `api_user("reader", [Rule(["example.com"], ["widgets"], ["get"])])`: in the whole cluster, or in the namespace that
    a third argument names. Without rules the user may do nothing. A test that asks for it is skipped where the cluster
    is not ours: nobody there signs a certificate.
    """
    if control_plane is None:
        pytest.skip("a user needs a certificate, and USE_EXISTING_CLUSTER=true has a cluster that signs none for us")
    plane = control_plane

    def make(name: str, rules: Sequence[Rule] = (), namespace: str = "") -> Path:
        async def give() -> None:
            async with _client(kubeconfig) as client:
                await grant(client, name, rules, namespace)

        _run(give())
        return plane.user(name)

    return make


@pytest_asyncio.fixture
async def embedded_kubeconfig(crd_classes: Sequence[type[Resource]], tmp_path: Path) -> AsyncIterator[Path]:
    """Give the kubeconfig of an API server in this process that has the CRDs of `crd_classes`; one a test.

    It is there in milliseconds. It checks schemas, versions and field managers, and knows neither RBAC nor Cel rules.
    """
    server = EmbeddedApiServer()
    await server.start()
    try:
        path = tmp_path / "embedded.kubeconfig"
        server.write_kubeconfig(path)
        async with _client(path) as client:
            await install_crds(client, *crd_classes)
        yield path
    finally:
        await server.close()


@asynccontextmanager
async def _client(kubeconfig: Path) -> AsyncIterator[Client]:
    client = Client(kubeconfig)
    try:
        yield client
    finally:
        await client.close()


def _run(action: Coroutine[Any, Any, T]) -> T:
    """Carry out a coroutine for a fixture that serves plain tests too; the test's own loop is left alone."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, action).result()
