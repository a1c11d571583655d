"""Puts the cloud controller together: the one place here that names all parts.

    API server -> cache -> downstream, tasks -> link -> transport -> nodes
                    └────> inventory ───────────^
    API server (Secrets) -> credentials -> link, when a node asks
    nodes -> transport -> link -> mailbox -> upstream, tasks -> API server

Neighbours: `cli.cloud_controller` makes the client and the transport and calls `serve`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

from neptune.api import Dataset, ResourceKey
from neptune.api.core import Namespace
from neptune.clock import Clock
from neptune.controllers.dataset.credentials import Credentials
from neptune.controllers.dataset.downstream import Downstream, desired
from neptune.controllers.dataset.status import as_reported
from neptune.controllers.dataset.upstream import NODE_INDEX, UID_INDEX, Upstream, find
from neptune.controllers.link import Link
from neptune.controllers.metrics import of_link
from neptune.controllers.tasks.kind import TaskKind
from neptune.controllers.tasks.setup import Tasks
from neptune.log import get_logger
from neptune.protocol.cloud import CloudLink, Reported
from neptune.protocol.inventory import Inventory
from neptune.protocol.messages import DesiredObject, StatusReport
from neptune.protocol.topics import Topics
from neptune.runtime import ApiError, Cache, Change, Client, Keys, LeaderElection, Manager, Predicate, Query
from neptune.transport import Transport

#: Its uid names a cluster, as the OpenTelemetry convention `k8s.cluster.uid` has it.
CLUSTER_NAMESPACE = ResourceKey("", "kube-system")

#: How far a cloud may have to raise its epoch in one term; leaves room for 2^33 terms below `MAX_NUMBER`.
EPOCHS_PER_TERM = 2**20

log = get_logger()


class CloudController:
    """All parts of one cloud controller.

    Args:
        client: the API server; closed by whoever made it.
        transport: the way to the nodes; opened and closed here.
        topic_prefix: where topics begin, as the nodes have it.
        workers: reconciles of each direction that run at a time.
        listen: `HOST:PORT` of probes and metrics; empty for none.
        task_kinds: the kinds whose objects are work for nodes, such as `FederatedTasks()`. One whose CRD is not there
            holds up nothing else.
        leader_election: of several controllers one speaks to the nodes; the others keep their caches warm.
        rng: what spreads retries, for simulation.

    Raises:
        ValueError: two of the kinds of tasks have one Kind.
    """

    def __init__(  # noqa: PLR0913  # the composition root: all but the first three have a name at the call
        self,
        client: Client,
        transport: Transport,
        clock: Clock,
        *,
        topic_prefix: str,
        namespace: str = "",
        workers: int,
        listen: str = "",
        task_kinds: Sequence[TaskKind[Any]] = (),
        leader_election: LeaderElection | None = None,
        rng: Random | None = None,
    ) -> None:
        self.manager = Manager(client, clock=clock, listen=listen, leader_election=leader_election, rng=rng)
        cache = self.manager.cache
        cache.index(Dataset, UID_INDEX, lambda dataset: [dataset.metadata.uid])
        cache.index(Dataset, NODE_INDEX, lambda dataset: [dataset.spec.node_name])
        inventory = Inventory(self._object_of)
        self._is_elected = leader_election is not None
        # Without an election whoever started later is the later cloud, as far as the clock goes; nodes know better.
        epoch = int(clock.now().timestamp() * 1000)
        core = CloudLink(epoch, Topics(topic_prefix), inventory, is_encrypted=transport.is_encrypted)
        self.link = Link(core, transport, clock)
        follow(cache, namespace, inventory)
        self.upstream = Upstream(self.link, cache, clock)
        downstream = Downstream(self.link, clock, self.upstream.has_answer)
        cache.watch(Dataset, namespace).subscribe(downstream.note)
        self.manager.metrics.sources.append(partial(of_link, self.link))
        credentials = Credentials(self.link, cache)
        self.tasks = Tasks(task_kinds, self.manager, self.link, clock, namespace)
        self.manager.add(self._open)
        self._nodes = Keys()
        self.link.on_report = self._on_report
        self.link.on_credentials = credentials.take
        self.link.on_presence = self._on_presence
        query = Query(Dataset, namespace)
        self.manager.controller(query, downstream.reconcile, name="downstream", workers=workers, sources=[self._nodes])
        self.manager.controller(
            query,
            self.upstream.reconcile,
            name="upstream",
            workers=workers,
            sources=[self.upstream.mailbox],
            predicates=[only_deletions],
        )
        self.manager.controller(
            query,
            credentials.reconcile,
            name="credentials",
            workers=workers,
            sources=[credentials.mailbox],
            predicates=[only_deletions],
        )
        self.tasks.control(self.manager, namespace, workers)

    def _object_of(self, node: str, uid: str) -> DesiredObject | None:
        dataset = find(self.manager.cache, uid)
        return self.tasks.object(node, uid) if dataset is None else desired(dataset)

    def _on_report(self, reported: Reported) -> None:
        of_tasks: list[StatusReport] = []
        of_datasets: list[StatusReport] = []
        for item in reported.reports:
            is_task = item.work is not None or self.tasks.has(item.uid)
            (of_tasks if is_task else of_datasets).append(item)
        self.tasks.take(replace(reported, reports=(*of_tasks,)))
        self.upstream.take(replace(reported, reports=(*of_datasets,)))

    def _on_presence(self, node: str) -> None:
        datasets = self.manager.cache.list(Dataset, index=NODE_INDEX, value=node)
        self._nodes.name(dataset.key for dataset in datasets)
        self.tasks.on_presence(node)

    async def _open(self) -> None:
        """The caches are complete, and this process leads: let nodes ask."""
        self.link.core.cluster = await cluster_of(self.manager.client)
        if (term := self.manager.term) is not None:
            self.link.core.epoch = epoch_of(term, self.link.core.epoch)
        self.link.ready()
        if self._is_elected:
            await self.link.run()

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then finish what was begun and say goodbye to the nodes.

        Without an election the link runs from the start: until the cache is complete it tells nodes to ask again.

        Raises:
            LeadershipLost: another controller leads now or soon; end the process and start it again.
        """
        serving = asyncio.create_task(self.manager.serve(), name="manager")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        links = [] if self._is_elected else [asyncio.create_task(self.link.run(), name="link")]
        try:
            await asyncio.wait([serving, stopping, *links], return_when=asyncio.FIRST_COMPLETED)
            await self.manager.stop()
            await serving
        finally:
            # Workers before the link, so that their last verdicts still go out.
            for task in (stopping, serving, *links):
                task.cancel()
                await asyncio.wait([task])
        for link in links:
            if not link.cancelled():
                link.result()


#: A change of the object is no reason to write a report again; the report's arrival is, and a conflict comes back by
#: itself. An object that is gone can be forgotten.
only_deletions = Predicate(lambda change: change.new is None)


def epoch_of(term: int, now_ms: int) -> int:
    """Return the epoch of a leader: above that of every earlier term, which may have gone up by some.

    The clock fills the room below the next term, so that a Lease that counts anew does not give an epoch twice.
    """
    return (term + 1) * EPOCHS_PER_TERM + now_ms % EPOCHS_PER_TERM


def follow(cache: Cache, namespace: str, inventory: Inventory) -> None:
    """Have the Datasets in an inventory change with the cache."""

    def on_change(change: Change[Dataset]) -> None:
        dataset = informer.peek(change.new) if change.new else None
        if change.old and (dataset is None or change.old.uid != dataset.metadata.uid):
            inventory.put(change.old.uid, {})
        if dataset is not None:
            node = dataset.spec.node_name
            inventory.put(dataset.metadata.uid, {node: (desired(dataset), as_reported(dataset))} if node else {})

    informer = cache.watch(Dataset, namespace)
    informer.subscribe(on_change)


async def cluster_of(client: Client) -> str:
    """Return what names the cluster in messages, or nothing when the API server does not tell."""
    try:
        return (await client.get(Namespace, CLUSTER_NAMESPACE)).metadata.uid
    except ApiError as error:
        remedy = "let this user get the namespace kube-system, or keep other clusters off the broker"
        log.warning("cluster not known to nodes", problem=str(error), remedy=remedy)
        return ""
