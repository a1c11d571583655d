"""A program that competes for a lease and, while it leads, writes its name into a ConfigMap ten times a second.

python -m tests.runtime.replica NAMESPACE NAME
"""

from __future__ import annotations

import asyncio
import itertools
import sys

from neptune.api.core import ConfigMap
from neptune.api.meta import ResourceKey
from neptune.runtime import Context, LeaderElection, Manager, Query
from tests.runtime.kinds import config_map

LEASE_SECONDS = 3
PAUSE_SECONDS = 0.1


def main(namespace: str, name: str) -> None:
    async def reconcile(ctx: Context, _key: ResourceKey) -> None:
        for number in itertools.count():
            await ctx.client.apply(config_map(namespace, "who", leader=name, number=str(number)), force=True)
            await asyncio.sleep(PAUSE_SECONDS)

    election = LeaderElection("test", namespace, lease_seconds=LEASE_SECONDS, renew_seconds=2, retry_seconds=0.4)
    manager = Manager(leader_election=election, stop_seconds=0.5)
    only = Query(ConfigMap, namespace, field_selector="metadata.name=work")
    manager.controller(only, reconcile, timeout_seconds=600)
    manager.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
