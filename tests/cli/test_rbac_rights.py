"""A controller that uses all there is works as a user who has the role that `neptune rbac` prints, and no other right.

The API server also checks who may block an owner's deletion, as OpenShift's does.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from neptune.api import ObjectMeta, ResourceKey
from neptune.api.core import ConfigMap, Event, Lease, Namespace
from neptune.runtime import Client, NotFound
from neptune.testing.binaries import Binaries
from neptune.testing.envtest import ControlPlane
from tests.cli.test_rbac import EXAMPLES, neptune
from tests.support.kubectl import kubectl
from tests.test_examples import module, until

APP = """
from owned_children import Site, cleanup, reconcile
from neptune.api.core import ConfigMap
from neptune.runtime import Finalizer, LeaderElection, Manager


told = set()


async def reconcile_and_tell(ctx, key):
    await reconcile(ctx, key)
    site = ctx.cache.get(Site, key)
    if site and site.spec.text not in told:
        told.add(site.spec.text)
        ctx.events.normal(site, "Published", "the page is there")


manager = Manager(leader_election=LeaderElection("sites", "default"))
manager.controller(Site, Finalizer(Site, "example.com/file", reconcile_and_tell, cleanup), owns=[ConfigMap])
if __name__ == "__main__":
    manager.run()
"""
KEY = ResourceKey("farm", "home")


@pytest.fixture(scope="module")
def plane(binaries: Binaries) -> Iterator[ControlPlane]:
    flags = ["--enable-admission-plugins=OwnerReferencesPermissionEnforcement"]
    with ControlPlane(binaries, apiserver_flags=flags) as plane:
        yield plane


@pytest.fixture
async def client(plane: ControlPlane) -> AsyncIterator[Client]:
    client = Client(plane.kubeconfig)
    yield client
    await client.close()


@asynccontextmanager
async def app(folder: Path, kubeconfig: Path) -> AsyncIterator[Path]:
    """Run the program, stop it with SIGTERM, and give the file that has what it logs."""
    log = folder / "log"
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(EXAMPLES), "SITES": str(folder / "sites")}
    with log.open("w") as stdout:
        program = await asyncio.create_subprocess_exec(
            sys.executable, folder / "app.py", stdout=stdout, stderr=subprocess.STDOUT, env=environ
        )
        try:
            yield log
            program.terminate()
            assert await asyncio.wait_for(program.wait(), 15) == 0
        finally:
            if program.returncode is None:
                program.kill()
                await program.wait()


async def test_a_controller_works_with_the_printed_role_alone(
    plane: ControlPlane, client: Client, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(APP)
    crds, role = (
        neptune(*args, folder=tmp_path, PYTHONPATH=str(EXAMPLES)).stdout
        for args in (("crds", "owned_children:Site"), ("rbac", "app"))
    )
    kubectl("apply", "-f", "-", kubeconfig=plane.kubeconfig, stdin=f"{crds}---\n{role}")
    kubectl("wait", "--for=condition=Established", "crd/sites.example.com", kubeconfig=plane.kubeconfig)
    kubectl("create", "clusterrolebinding", "app", "--clusterrole=app", "--user=app", kubeconfig=plane.kubeconfig)
    await client.create(Namespace(metadata=ObjectMeta(name=KEY.namespace)))
    site_cls = module("owned_children").Site

    async def is_gone() -> bool:
        try:
            await client.get(site_cls, KEY)
        except NotFound:
            return True
        return False

    async def events() -> list[Event]:
        return (await client.list(Event, KEY.namespace)).items

    async def repeated() -> bool:
        return any(each.series is not None for each in await events())

    async def ready() -> bool:
        return bool((await client.get(site_cls, KEY)).status.conditions)

    async with app(tmp_path, plane.user("app")) as log:
        site = await client.create(
            site_cls.model_validate({"metadata": {"namespace": "farm", "name": "home"}, "spec": {"text": "hello"}})
        )
        await until(ready)
        child = await client.get(ConfigMap, KEY)
        [told] = await until(events)
        site = await client.get(site_cls, KEY)
        site.spec.text = "hello again"
        await client.patch(site)
        await until(repeated)
        await client.delete(site)
        await until(is_gone)
    lines = log.read_text()
    lease = await client.get(Lease, ResourceKey("default", "sites"))
    assert child.metadata.owner_references[0].block_owner_deletion
    assert (told.reason, told.regarding.uid) == ("Published", site.metadata.uid)
    assert not lease.spec.holder_identity, "the lease was not given back"
    problems = [line for line in lines.splitlines() if any(word in line for word in ("error", "warning", "orbidden"))]
    assert "lease given back" in lines
    assert problems == [], json.dumps(problems, indent=1)
