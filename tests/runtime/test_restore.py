"""etcd is restored from an older backup under a running cache, on a control plane of the test's own."""

from __future__ import annotations

import asyncio
import shutil

from neptune.api import ObjectMeta
from neptune.api.core import ConfigMap
from neptune.clock import SystemClock
from neptune.runtime import Client, Query
from neptune.runtime.informer import Informer
from neptune.runtime.watch import ListWatch
from neptune.testing.binaries import Binaries
from neptune.testing.envtest import STOP_SECONDS, ControlPlane
from tests.runtime.widgets import eventually


class RestorablePlane(ControlPlane):
    """A control plane whose data can be set back."""

    def replace_data(self, source: str, target: str) -> None:
        """Stop both servers, copy one folder of theirs over another, and start them."""
        self.stop_apiserver(graceful=False)
        assert self._etcd is not None
        self._etcd.stop(seconds=STOP_SECONDS)
        shutil.rmtree(self._folder / target, ignore_errors=True)
        shutil.copytree(self._folder / source, self._folder / target)
        self._start_etcd()
        self.start_apiserver()


def config_map(name: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(namespace="default", name=name))


async def test_a_cache_heals_when_etcd_is_restored_from_an_older_backup(binaries: Binaries) -> None:
    with RestorablePlane(binaries) as plane:
        client = Client(plane.kubeconfig)
        query = Query(ConfigMap, "default")
        informer = Informer(query)
        await client.create(config_map("before"))
        await asyncio.to_thread(plane.replace_data, "etcd", "backup")
        watching = asyncio.create_task(ListWatch(client, query, informer.apply, SystemClock()).run())
        names = [f"lost-{number}" for number in range(200)]  # more writes than the restart makes
        await asyncio.gather(*(client.create(config_map(name)) for name in names))
        await eventually(lambda: len([*informer.snapshots()]) == 201)
        await asyncio.to_thread(plane.replace_data, "backup", "etcd")
        await eventually(lambda: [item.key.name for item in informer.snapshots()] == ["before"], seconds=40)
        await client.create(config_map("after"))
        await eventually(lambda: len([*informer.snapshots()]) == 2)
        watching.cancel()
        await asyncio.wait([watching])
        await client.close()
