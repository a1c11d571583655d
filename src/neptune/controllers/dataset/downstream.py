"""Downstream: what a user wants counted reaches the node that owns the data.

Level-based: whatever happened, a pass compares the Dataset with what its status says the node has, pushes if they
differ, and looks again until the node has answered. Pushes only make it quick: a node that missed them all gets
everything by its next `get`. Neighbours: `link` sends; `upstream` sets `observedGeneration` when the node answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from neptune.api import ConditionType, Dataset, ResourceKey, get_condition
from neptune.clock import Clock
from neptune.controllers import patience
from neptune.controllers.dataset import status
from neptune.controllers.link import Link
from neptune.protocol.backoff import Pace
from neptune.protocol.digest import spec_hash
from neptune.protocol.messages import DesiredObject
from neptune.protocol.presence import NodeState
from neptune.protocol.topics import Verb
from neptune.runtime import Change, Context, RequeueAfter

KIND = Dataset.resource.kind
#: A node that is there and counts small files answers sooner than this, some hundreds of them at a time too; writing
#: "waiting" before would only double the writes. Users are told within a second.
ANSWER_SECONDS = 0.8
#: So many pushes of one generation without an answer, 35 seconds, are no chance: a broker that lets a node read some of
#: its topics tells nobody.
UNHEARD_PUSHES = 4


def desired(dataset: Dataset) -> DesiredObject:
    """Return what a node gets to know of a Dataset: the spec, and which object and generation it is."""
    meta = dataset.metadata
    spec = dataset.spec.to_dict()
    return DesiredObject(KIND, meta.namespace, meta.name, meta.uid, meta.generation, spec, spec_hash(spec))


@dataclass(slots=True)
class _Sent:
    """What was last pushed for a key. Lost with the process, which costs nothing: a new cloud makes nodes ask."""

    node: str
    uid: str
    generation: int = 0
    times: int = 0
    next_at: float = 0.0
    #: Until then a node that is there may answer before users are told that it has not.
    patient_until: float = 0.0
    #: What users are told of the node.
    says: Pace = field(default_factory=patience.says)

    def follow(self, generation: int) -> None:
        """Begin anew for another generation."""
        if self.generation != generation:
            self.generation, self.times, self.next_at, self.says = generation, 0, 0.0, patience.says()


class Downstream:
    """The reconciler. One instance serves all workers: a key is never with two of them."""

    def __init__(self, link: Link, clock: Clock, is_answered: Callable[[Dataset], bool]) -> None:
        """`is_answered` tells whether a node's answer for this generation is here and only has to be written."""
        self._link = link
        self._clock = clock
        self._is_answered = is_answered
        self._sent: dict[ResourceKey, _Sent] = {}
        #: What came since nodes were first answered, and was not looked at yet.
        self._news: set[ResourceKey] = set()

    def note(self, change: Change[Dataset]) -> None:
        """Note what nodes may have been told otherwise: an object or a generation that the cache did not have."""
        if change.new is None or not self._link.core.is_ready:
            return
        if change.old is None or change.old.generation != change.new.generation:
            self._news.add(change.key)

    async def reconcile(self, ctx: Context, key: ResourceKey) -> RequeueAfter | None:
        """Bring the node that owns the data, and the status, in step with the Dataset."""
        dataset = ctx.cache.get(Dataset, key)
        sent = self._release_former_owner(key, dataset)
        if dataset is None or sent is None:
            self._news.discard(key)
            return None
        now = self._clock.now()
        if show_hindrance := self._hindrance(dataset):
            show_hindrance(dataset, now)
            await ctx.client.status.patch(dataset)
            return None
        state = self._link.state(sent.node)
        if state is not NodeState.ONLINE and (unsettled := self._link.unsettled_seconds) > 0:
            # A connection that has just come up brings the births that the broker has kept in a moment.
            return RequeueAfter(unsettled)
        is_news = key in self._news
        self._news.discard(key)
        if dataset.status.observed_generation == dataset.metadata.generation:
            if is_news:
                # The node has answered another cloud, of which this one's cache did not know. What this one has told
                # the node since, that there is no such thing for one, nobody else makes good.
                self._link.push(sent.node, sent.uid)
            return await self._watch_over(ctx, dataset, sent, state)
        return await self._wait_for_answer(ctx, dataset, sent, state)

    def _hindrance(self, dataset: Dataset) -> Callable[[Dataset, datetime], None] | None:
        """Return how to show why no node can have the object, or None when one can. Only the user can change that."""
        if not dataset.spec.node_name:
            return status.show_no_node
        # The inventory has what is in the cache, but for what no message can carry.
        return None if self._link.core.inventory.owners(dataset.metadata.uid) else status.show_too_large

    def _release_former_owner(self, key: ResourceKey, dataset: Dataset | None) -> _Sent | None:
        """Tell the node that had the object, if another has it now, and return the note on the present owner."""
        sent = self._sent.get(key)
        if sent and (dataset is None or (sent.node, sent.uid) != (dataset.spec.node_name, dataset.metadata.uid)):
            del self._sent[key]
            if sent.node:
                self._link.push(sent.node, sent.uid)
            sent = None
            self._news.add(key)
        if sent is None and dataset is not None:
            sent = self._sent[key] = _Sent(dataset.spec.node_name, dataset.metadata.uid)
        if sent is not None and dataset is not None:
            sent.follow(dataset.metadata.generation)
        return sent

    async def _wait_for_answer(
        self, ctx: Context, dataset: Dataset, sent: _Sent, state: NodeState | None
    ) -> RequeueAfter | None:
        """The node has not answered: push if it is there, and tell users whom they wait for."""
        wait = None
        if state is NodeState.ONLINE:
            wait = self._push(sent)
            if (left := sent.patient_until - self._clock.monotonic()) > 0:
                return RequeueAfter(left)
        if not self._is_answered(dataset):
            if left := sent.says.left(self._clock.monotonic()):
                return RequeueAfter(left)
            told_on = self._link.core.topics.node(sent.node, Verb.UPDATED)
            unheard = told_on if sent.times >= UNHEARD_PUSHES else ""
            status.show_waiting(dataset, state, self._clock.now(), unheard)
            await self._say(ctx, dataset, sent)
        if state is None:
            return RequeueAfter(patience.BLIND_SECONDS)
        # A node that is away asks for everything when it comes back, and its coming back enqueues the key.
        return None if wait is None else RequeueAfter(wait)

    async def _say(self, ctx: Context, dataset: Dataset, sent: _Sent) -> None:
        """Write what is shown of the node, and note it if that changed anything."""
        if await ctx.client.status.patch(dataset) is not dataset:
            sent.says.done(self._clock.monotonic())

    def _push(self, sent: _Sent) -> float:
        """Push when it is time, and return the seconds until the next look."""
        now = self._clock.monotonic()
        if not sent.times:
            sent.patient_until = now + ANSWER_SECONDS
        if sent.next_at > now:
            return sent.next_at - now
        self._link.push(sent.node, sent.uid)
        pause = patience.repush_pause(sent.times)
        sent.times += 1
        sent.next_at = now + pause
        return pause

    async def _watch_over(
        self, ctx: Context, dataset: Dataset, sent: _Sent, state: NodeState | None
    ) -> RequeueAfter | None:
        """The node has answered: only its presence matters now."""
        if state is NodeState.ONLINE:
            online = get_condition(dataset.status.conditions, ConditionType.NODE_ONLINE)
            if online is None or online.status == "True":
                return None
            # The node came back before this cache had what was written of its absence: it thinks that all is said.
            self._link.ask(dataset.spec.node_name)
            return RequeueAfter(patience.REPUSH_MAX_SECONDS)
        if state is None:
            # The node may be well: it is this process that is cut off.
            return RequeueAfter(patience.BLIND_SECONDS)
        if state is NodeState.NEVER_SEEN and (left := self._link.young_seconds) > 0:
            # This process is young: the node gets the time that a flapping one has to show itself.
            return RequeueAfter(left)
        if left := sent.says.left(self._clock.monotonic()):
            return RequeueAfter(left)
        status.show_node_offline(dataset, self._clock.now())
        await self._say(ctx, dataset, sent)
        return None
