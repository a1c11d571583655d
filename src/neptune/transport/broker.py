"""A broker's logic and nothing else: who is connected, who subscribed to what, what is retained, who must wait.

No I/O and no event loop: each method is called by a front, acts at once, and hands deliveries to sinks. Sessions end
with their connection, as with clean start and session expiry 0: nothing is kept for a client that is away.
Invariant: what waits for one client is bounded; what does not fit is dropped and counted, never anything else. So are
filters and retained messages.
Neighbours: `memory` puts the transport port on it, `neptune.embedded.broker` the MQTT protocol; `topics` finds
subscribers; `acl` makes `authorize` functions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from neptune.clock import Clock, SystemClock
from neptune.transport.base import Published
from neptune.transport.broker_types import (
    Action,
    Authorize,
    BrokerStatistics,
    BrokerStopped,
    Delivery,
    Ended,
    Grant,
    Limits,
    Overflow,
    Peer,
    Publication,
    Sink,
    Subscription,
)
from neptune.transport.topics import TopicTree, matches


@dataclass(slots=True, eq=False)
class Member:
    """A connected client. Fronts hold it as a handle; only the core changes it."""

    peer: Peer
    sink: Sink
    will: Publication | None
    window: int
    merge: bool
    in_flight: int = 0
    paused: bool = False
    alive: bool = True
    queue: deque[Delivery] = field(default_factory=deque)
    queued_bytes: int = 0
    filters: set[str] = field(default_factory=set)


class BrokerCore:
    """One broker. Its methods are called from one thread."""

    def __init__(
        self,
        *,
        clock: Clock | None = None,
        authorize: Authorize | None = None,
        limits: Limits | None = None,
        overflow: Overflow = Overflow.NEWEST,
        silent_deny: bool = False,
    ) -> None:
        """Create a broker that takes connections at once.

        Args:
            clock: for the expiry of messages.
            authorize: decides each subscription, each publish and each delivery; without it all is allowed.
            limits: what one client may make the broker keep.
            overflow: which message gives way when a queue is full.
            silent_deny: answer what is denied like what is allowed, as mosquitto does for subscriptions and for
                publishes with MQTT 3.1.1.
        """
        self._clock = clock or SystemClock()
        self._authorize = authorize
        self._limits = limits or Limits()
        self._overflow = overflow
        self._silent_deny = silent_deny
        self._running = True
        self._members: dict[str, Member] = {}
        self._tree: TopicTree[tuple[Member, Subscription]] = TopicTree()
        self._retained: dict[str, tuple[Publication, float | None]] = {}
        self._subscriptions = self._received = self._delivered = self._dropped = 0

    def statistics(self) -> BrokerStatistics:
        """Return the counts of now."""
        return BrokerStatistics(
            clients=len(self._members),
            subscriptions=self._subscriptions,
            retained=len(self._retained),
            received=self._received,
            delivered=self._delivered,
            dropped=self._dropped,
        )

    def now(self) -> float:
        """Return the seconds in which `Delivery.expires_at` is told."""
        return self._clock.monotonic()

    def start(self) -> None:
        """Take connections again after `stop`."""
        self._running = True

    def stop(self) -> None:
        """End all connections and forget everything, as a broker without persistence does. No will is published."""
        self._running = False
        for member in list(self._members.values()):
            self._remove(member)
            member.sink.end(Ended.STOPPED)
        self._retained.clear()

    def connect(
        self,
        peer: Peer,
        sink: Sink,
        *,
        will: Publication | None = None,
        receive_maximum: int | None = None,
        merge: bool = False,
    ) -> Member:
        """Let a client in. One that is connected under the same id is thrown out first, and its will published.

        Args:
            peer: who it is.
            sink: where its messages go.
            will: what to publish when it is gone without a goodbye.
            receive_maximum: how many messages it takes before it acknowledges one (MQTT 5, 3.1.2.11.3).
            merge: deliver a message that matches several of its filters once, as mosquitto does to clients of
                MQTT 3.1.1; others get it once a filter, each with its identifier.

        Raises:
            BrokerStopped: between `stop` and `start`.
        """
        if not self._running:
            raise BrokerStopped("the broker is stopped")
        self._end(self._members.get(peer.client_id), Ended.TAKEN_OVER)
        window = min(receive_maximum or self._limits.in_flight, self._limits.in_flight)
        member = Member(peer, sink, will, window, merge)
        self._members[peer.client_id] = member
        return member

    def disconnect(self, member: Member, *, publish_will: bool) -> None:
        """Let a client go. Without effect when it is gone already."""
        if member.alive:
            self._remove(member)
            if publish_will:
                self._publish_will(member)

    def cut(self, client_id: str) -> None:
        """End a client's connection as a broken network does: it learns it, and its will is published."""
        self._end(self._members.get(client_id), Ended.LOST)

    def subscribe(self, member: Member, subscriptions: Iterable[Subscription]) -> list[Grant]:
        """Add subscriptions, each in place of one with the same filter. `replay` is the second half of it."""
        return [self._subscribe(member, subscription) for subscription in subscriptions]

    def replay(self, member: Member, grants: Iterable[Grant]) -> None:
        """Deliver the retained messages of new subscriptions; a front answers SUBSCRIBE before."""
        for subscription, qos, replay in grants:
            if qos is None or not replay:
                continue
            for publication, expires_at in self._find_retained(subscription.topic_filter):
                if self._may(member, Action.READ, publication.topic):
                    granted = min(subscription.qos, publication.qos)
                    self._offer(member, Delivery(publication, granted, True, subscription.identifier, expires_at))

    def unsubscribe(self, member: Member, filters: Iterable[str]) -> list[bool]:
        """Remove subscriptions; return for each whether there was one."""
        return [self._unsubscribe(member, topic_filter) for topic_filter in filters]

    def publish(self, member: Member, publication: Publication) -> Published:
        """Pass a message on to whom it concerns, and keep it where it is to be retained."""
        self._received += 1
        if not self._may(member, Action.WRITE, publication.topic):
            return Published.ACCEPTED if self._silent_deny else Published.DENIED
        return self._route(member, publication)

    def acknowledge(self, member: Member) -> None:
        """Note that a client received one message of quality 1; the next one of its queue follows."""
        if member.in_flight:
            member.in_flight -= 1
            self._pump(member)

    def pause(self, member: Member) -> None:
        """Deliver nothing to a client whose connection is congested, until `resume`."""
        member.paused = True

    def resume(self, member: Member) -> None:
        """Deliver what has gathered since `pause`."""
        member.paused = False
        self._pump(member)

    def _may(self, member: Member, action: Action, topic: str) -> bool:
        return self._authorize is None or self._authorize(member.peer, action, topic)

    def _subscribe(self, member: Member, subscription: Subscription) -> Grant:
        topic_filter = subscription.topic_filter
        full = topic_filter not in member.filters and len(member.filters) >= self._limits.filters
        if full or (not self._may(member, Action.SUBSCRIBE, topic_filter) and not self._silent_deny):
            return Grant(subscription, None, replay=False)
        new = self._tree.put(topic_filter, member.peer.client_id, (member, subscription))
        member.filters.add(topic_filter)
        self._subscriptions += new
        handling = subscription.retain_handling
        return Grant(subscription, subscription.qos, replay=handling == 0 or (handling == 1 and new))

    def _unsubscribe(self, member: Member, topic_filter: str) -> bool:
        if topic_filter not in member.filters:
            return False
        member.filters.discard(topic_filter)
        self._tree.remove(topic_filter, member.peer.client_id)
        self._subscriptions -= 1
        return True

    def _end(self, member: Member | None, reason: Ended) -> None:
        if member is not None:
            self._remove(member)
            member.sink.end(reason)
            self._publish_will(member)

    def _remove(self, member: Member) -> None:
        member.alive = False
        del self._members[member.peer.client_id]
        for topic_filter in list(member.filters):
            self._unsubscribe(member, topic_filter)
        member.queue.clear()
        member.queued_bytes = 0

    def _publish_will(self, member: Member) -> None:
        # One that the client may not publish is left out in silence (as mosquitto does): nobody is there to be told.
        if member.will is not None and self._may(member, Action.WRITE, member.will.topic):
            self._route(member, member.will)

    def _route(self, publisher: Member, publication: Publication) -> Published:
        expiry = publication.expiry_seconds
        expires_at = None if expiry is None else self.now() + expiry
        if publication.retain:
            # An empty payload removes what is retained (MQTT 5, 3.3.1.3).
            self._retained.pop(publication.topic, None)
            if publication.payload and len(self._retained) < self._limits.retained:
                self._retained[publication.topic] = (publication, expires_at)
        deliveries: list[tuple[Member, Delivery]] = []
        merged: dict[str, Delivery] = {}
        for client_id, (member, subscription) in self._tree.match(publication.topic):
            if subscription.no_local and member is publisher:
                continue
            retain = publication.retain and subscription.retain_as_published
            qos = min(subscription.qos, publication.qos)
            delivery = Delivery(publication, qos, retain, subscription.identifier, expires_at)
            if not member.merge:
                deliveries.append((member, delivery))
            elif client_id not in merged or merged[client_id].qos < qos:
                merged[client_id] = delivery
        deliveries += ((self._members[client_id], delivery) for client_id, delivery in merged.items())
        outcome = Published.NO_RECEIVER
        for member, delivery in deliveries:
            if self._may(member, Action.READ, publication.topic):
                outcome = Published.ACCEPTED
                self._offer(member, delivery)
        return outcome

    def _find_retained(self, topic_filter: str) -> list[tuple[Publication, float | None]]:
        if "+" in topic_filter or "#" in topic_filter:
            found = [entry for topic, entry in self._retained.items() if matches(topic_filter, topic)]
        else:
            found = [self._retained[topic_filter]] if topic_filter in self._retained else []
        now = self.now()
        for publication, expires_at in found:
            if expires_at is not None and expires_at <= now:
                del self._retained[publication.topic]
        return [(publication, expires_at) for publication, expires_at in found if publication.topic in self._retained]

    def _offer(self, member: Member, delivery: Delivery) -> None:
        if delivery.qos == 0:
            if member.paused:
                self._dropped += 1
            else:
                self._hand_over(member, delivery)
        elif not member.paused and not member.queue and member.in_flight < member.window:
            member.in_flight += 1
            self._hand_over(member, delivery)
        else:
            self._enqueue(member, delivery)

    def _enqueue(self, member: Member, delivery: Delivery) -> None:
        member.queue.append(delivery)
        member.queued_bytes += len(delivery.publication.payload)
        limits = self._limits
        while len(member.queue) > limits.queue_messages or member.queued_bytes > limits.queue_bytes:
            dropped = member.queue.pop() if self._overflow is Overflow.NEWEST else member.queue.popleft()
            member.queued_bytes -= len(dropped.publication.payload)
            self._dropped += 1

    def _pump(self, member: Member) -> None:
        now = self.now()
        while member.queue and not member.paused and member.in_flight < member.window:
            delivery = member.queue.popleft()
            member.queued_bytes -= len(delivery.publication.payload)
            if delivery.expires_at is None or delivery.expires_at > now:
                member.in_flight += 1
                self._hand_over(member, delivery)

    def _hand_over(self, member: Member, delivery: Delivery) -> None:
        self._delivered += 1
        member.sink.deliver(delivery)
