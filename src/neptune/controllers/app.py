"""Puts the cloud controller together: the one place here that names all parts.

    API server -> cache -> downstream -> link -> transport -> nodes
    nodes -> transport -> link -> mailbox -> upstream -> API server

Neighbours: `cli.cloud_controller` makes the client and the transport and calls `serve`.
"""

from __future__ import annotations

import asyncio
from random import Random

from neptune.api import Dataset
from neptune.clock import Clock
from neptune.controllers.dataset.downstream import Downstream, desired
from neptune.controllers.dataset.upstream import NODE_INDEX, UID_INDEX, Upstream, find
from neptune.controllers.link import Link
from neptune.protocol.cloud import CloudLink
from neptune.protocol.messages import DesiredObject
from neptune.protocol.topics import Topics
from neptune.runtime import Cache, Client, Keys, Manager, Predicate, Query
from neptune.transport import Transport


class CloudController:
    """All parts of one cloud controller.

    Args:
        client: the API server; closed by whoever made it.
        transport: the way to the nodes; opened and closed here.
        topic_prefix: where topics begin, as the nodes have it.
        workers: reconciles of each direction that run at a time.
        listen: `HOST:PORT` of probes and metrics; empty for none.
        rng: what spreads retries, for simulation.
    """

    def __init__(
        self,
        client: Client,
        transport: Transport,
        clock: Clock,
        *,
        topic_prefix: str,
        namespace: str = "",
        workers: int,
        listen: str = "",
        rng: Random | None = None,
    ) -> None:
        self.manager = Manager(client, clock=clock, listen=listen, rng=rng)
        cache = self.manager.cache
        cache.watch(Dataset, namespace)
        cache.index(Dataset, UID_INDEX, lambda dataset: [dataset.metadata.uid])
        cache.index(Dataset, NODE_INDEX, lambda dataset: [dataset.spec.node_name])
        # Whoever started later is the later cloud; nodes compare epochs for equality only.
        core = CloudLink(
            epoch=int(clock.now().timestamp() * 1000),
            topics=Topics(topic_prefix),
            objects_of=lambda node: objects_of(cache, node),
        )
        self.link = Link(
            core,
            transport,
            clock,
            object_of=lambda node, uid: object_of(cache, node, uid),
        )
        downstream, self.upstream = Downstream(self.link, clock), Upstream(self.link, cache, clock)
        self.manager.add(self._open)
        nodes = Keys()
        self.link.on_report = self.upstream.take
        self.link.on_presence = lambda node: nodes.name(
            dataset.key for dataset in cache.list(Dataset, index=NODE_INDEX, value=node)
        )
        query = Query(Dataset, namespace)
        self.manager.controller(query, downstream.reconcile, name="downstream", workers=workers, sources=[nodes])
        self.manager.controller(
            query,
            self.upstream.reconcile,
            name="upstream",
            workers=workers,
            sources=[self.upstream.mailbox],
            predicates=[only_deletions],
        )

    async def _open(self) -> None:
        """The caches are complete: let nodes ask."""
        self.link.ready()

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then finish what was begun and say goodbye to the nodes.

        The link runs from the start: while the cache is not complete it answers nodes that they must ask again.
        """
        link = asyncio.create_task(self.link.run(), name="link")
        serving = asyncio.create_task(self.manager.serve(), name="manager")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([link, serving, stopping], return_when=asyncio.FIRST_COMPLETED)
            await self.manager.stop()
            await serving
        finally:
            # Workers before the link, so that their last verdicts still go out.
            for task in (stopping, serving, link):
                task.cancel()
                await asyncio.wait([task])
        if not link.cancelled():
            link.result()


#: A change of the object is no reason to write a report again; the report's arrival is, and a conflict comes back by
#: itself. An object that is gone can be forgotten.
only_deletions = Predicate(lambda change: change.new is None)


def objects_of(cache: Cache, node: str) -> list[DesiredObject]:
    """Return everything that a node should have, by name, so that its answer is the same each time."""
    datasets = cache.list(Dataset, index=NODE_INDEX, value=node)
    return [desired(dataset) for dataset in sorted(datasets, key=lambda dataset: dataset.key)]


def object_of(cache: Cache, node: str, uid: str) -> DesiredObject | None:
    """Return the object with that uid if it is that node's, else None."""
    dataset = find(cache, uid)
    return desired(dataset) if dataset is not None and dataset.spec.node_name == node else None
