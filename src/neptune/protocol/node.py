"""The node's end of the link as a state machine: events go in, `Action`s come out. No I/O, no clock.

Flow: connected -> birth, `get` -> all parts of the answer -> live: statuses go up, pushes come down. A cloud that
starts anew, a push of another epoch, a refusal and the passing of ten minutes lead back to `get`.
Guarantees: after the last fault, one answered `get` makes the node's records equal to the cloud's, and every latest
status is sent until it has a verdict. Assumptions: none about delivery; a cloud answers only when it knows all.
Errors: a message that cannot be read is dropped, counted in `dropped` and named, once a kind and synchronisation.
Neighbours: `edge.agent` carries out the actions; `desired` and `status` hold the rules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from neptune.protocol import messages
from neptune.protocol.actions import EXPIRY_SECONDS, Publish
from neptune.protocol.backoff import Backoff
from neptune.protocol.desired import Assembly, Change, DesiredState
from neptune.protocol.messages import (
    CloudPresence,
    Get,
    GetResult,
    Header,
    MessageError,
    Presence,
    StatusReport,
    StatusResult,
    StatusUpdate,
    Updated,
)
from neptune.protocol.status import Outbox
from neptune.protocol.topics import Topics, Verb
from neptune.transport import Message, Received

#: How long to wait for an answer to `get` before asking again (seconds), and how far that backs off.
GET_BASE_SECONDS, GET_MAX_SECONDS = 5.0, 60.0
#: After this long without an answer the node says so (seconds).
SILENCE_SECONDS = 30.0
#: A full synchronisation even when nothing seems amiss: heals what a broker dropped (seconds, jittered by a tenth).
RESYNC_SECONDS = 600.0
#: Nodes answer the cloud's birth spread over this many seconds, so that a restart is not a stampede; it also bounds
#: how often one node asks, whatever it hears.
ROLL_CALL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Warn:
    """Log this for a person; said once until the cause changes."""

    event: str
    reason: str


Action = Publish | Change | Warn


@dataclass(slots=True)
class _Sync:
    """One synchronisation: waiting until `at` to ask, or, with an assembly, waiting until then for the answer."""

    at: float
    assembly: Assembly | None = None


@dataclass(slots=True)
class NodeLink:
    """The link of one node.

    `epoch` names this process: higher than that of any earlier one of this node. Where it turns out not to be (an empty
    disk, a clock that went back, another agent of this name) the cloud's echo of the highest raises it.
    """

    node: str
    epoch: int
    topics: Topics
    rng: Random
    agent: str = ""
    desired: DesiredState = field(default_factory=DesiredState)
    outbox: Outbox = field(init=False)
    #: True from the first complete answer of a connection on.
    live: bool = False
    connection: int | None = None
    #: When the cloud last told everything (a timestamp in milliseconds).
    synced_at: int | None = None
    #: Messages that could not be read or did not belong where they came.
    dropped: int = 0
    _sync: _Sync | None = None
    _backoff: Backoff = field(init=False)
    _asked_since: float | None = None
    _ask_again: bool = False
    _warned: set[str] = field(default_factory=set)
    _events: int = 0
    _will_epoch: int = 0

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.rng)
        self._backoff = Backoff(GET_BASE_SECONDS, GET_MAX_SECONDS, self.rng)

    def will(self, connection: int, timestamp: int) -> Message:
        """Return what the broker should say when that connection breaks."""
        self._will_epoch = self.epoch
        return self._presence(online=False, connection=connection, timestamp=timestamp)

    def connected(self, connection: int, now: float, timestamp: int) -> list[Action]:
        """A connection is up: announce the node and ask for everything."""
        self.connection = connection
        self.live = False
        self._asked_since = None
        self._ask_again = False
        self._backoff.reset()
        self._sync = _Sync(at=now)
        birth = Publish(self._presence(online=True, connection=connection, timestamp=timestamp))
        return [birth, *self.tick(now, timestamp)]

    def disconnected(self) -> None:
        """The connection is gone; what the node has stays as it is."""
        self.connection, self.live, self._sync = None, False, None

    def report(self, status: StatusReport, now: float, timestamp: int) -> list[Action]:
        """A status changed; it is sent now when the link is live, else once it is."""
        if status.uid not in self.desired.records:
            return []
        self.outbox.put(status)
        return self.tick(now, timestamp)

    def received(self, message: Received, now: float, timestamp: int) -> list[Action]:
        """A message arrived."""
        topic = message.topic
        try:
            header, body = messages.decode(message.payload)
        except MessageError as error:
            return self._drop(f"{topic}: {error}")
        match self.topics.parse(topic), body:
            case None, CloudPresence() if topic == self.topics.cloud():
                return self._on_cloud(body, message.retained, now, timestamp)
            case (self.node, Verb.GET_RESULT), GetResult():
                return [*self._caught_up(header, timestamp), *self._on_answer(header, body, now, timestamp)]
            case (self.node, Verb.UPDATED), Updated():
                return [*self._caught_up(header, timestamp), *self._on_update(header, body, now, timestamp)]
            case (self.node, Verb.STATUS_RESULT), StatusResult():
                return [*self._caught_up(header, timestamp), *self._on_verdicts(body, now, timestamp)]
        return self._drop(f"{topic}: a {body.TYPE} does not belong on this topic")

    def tick(self, now: float, timestamp: int) -> list[Action]:
        """Do what is due: ask, ask again, send statuses. Call it at `next_deadline`."""
        if self.connection is None:
            return []
        actions: list[Action] = []
        if self._sync is not None and self._sync.at <= now:
            actions += self._ask(now, timestamp)
        if self.live:
            for batch in messages.batches(self.outbox.due(now)):
                actions.append(self._publish(Verb.STATUS_UPDATE, StatusUpdate(batch), timestamp))
        return actions

    def next_deadline(self) -> float | None:
        """Return when `tick` has something to do next, or None while nothing is planned."""
        if self.connection is None:
            return None
        times = [self._sync.at] if self._sync is not None else []
        if self.live and (due := self.outbox.next_due()) is not None:
            times.append(due)
        return min(times, default=None)

    def _caught_up(self, header: Header, timestamp: int) -> list[Action]:
        """Go above an epoch that the cloud has heard of, and say everything again: it took nothing from below."""
        if header.node_epoch <= self.epoch or self.connection is None:
            return []
        self.epoch = header.node_epoch + 1
        self.outbox.requeue_all()
        return [Publish(self._presence(online=True, connection=self.connection, timestamp=timestamp))]

    def _ask(self, now: float, timestamp: int) -> list[Action]:
        if self._asked_since is None:
            self._asked_since = now
        self._events += 1
        event_id = f"{self.node}-{self.epoch:x}-{self._events}"
        assembly = Assembly(event_id, asked_after=self.desired.newest)
        self._sync = _Sync(at=now + self._backoff.next(), assembly=assembly)
        actions: list[Action] = [self._publish(Verb.GET, Get(), timestamp, event_id)]
        if now - self._asked_since >= SILENCE_SECONDS:
            actions += self._warn_once(
                "cloud does not answer",
                "no cloud-controller runs on this broker, or the broker does not let this node use its topics; "
                "asking again",
            )
        return actions

    def _ask_soon(self, now: float) -> None:
        """Ask within a second. A question that is out gets a successor: its answer may be older than the cause."""
        if self._sync is not None and self._sync.assembly is not None:
            self._ask_again = True
        elif self._sync is None or self._sync.at > now + ROLL_CALL_SECONDS:
            self._sync = _Sync(at=now + self.rng.uniform(0, ROLL_CALL_SECONDS))

    def _on_cloud(self, body: CloudPresence, retained: bool, now: float, timestamp: int) -> list[Action]:
        # A birth that the broker replays is older than our subscription, and so than our question: it tells nothing.
        # Any other tells that the cloud was away: pushes, and a question that is out, may be lost.
        if body.online and not retained:
            if self._sync is not None and self._sync.assembly is not None:
                self._sync = None
            self._ask_soon(now)
        return self.tick(now, timestamp)

    def _on_answer(self, header: Header, body: GetResult, now: float, timestamp: int) -> list[Action]:
        sync = self._sync
        if sync is None or sync.assembly is None:
            return []
        # A cloud that could not read the question cannot tell its event_id either.
        is_unread = header.code != messages.OK and not header.event_id
        if header.event_id != sync.assembly.event_id and not is_unread:
            return []
        if header.code != messages.OK:
            # The question stays out: `sync.at` asks again. But this is an answer, so there is no silence.
            self._asked_since = None
            if header.code == messages.UNAVAILABLE:
                return []
            return self._warn_once("cloud refused to synchronise", f"{header.reason} ({header.code})")
        objects = sync.assembly.add(header, body)
        if objects is None:
            return []
        self._backoff.reset()
        self._asked_since = None
        self.synced_at = timestamp
        self._warned.clear()
        self._sync = _Sync(at=now + RESYNC_SECONDS * self.rng.uniform(0.9, 1.1))
        if self._ask_again:
            self._ask_again = False
            self._ask_soon(now)
        asked_after = sync.assembly.asked_after
        is_new_cloud = self.desired.is_of_another_cloud(header, asked_after=asked_after)
        change = self.desired.replace(header, objects, asked_after=asked_after)
        self._forget(change)
        if is_new_cloud or not self.live:
            self.live = True
            self.outbox.requeue_all()
        return [change, *self.tick(now, timestamp)]

    def _on_update(self, header: Header, body: Updated, now: float, timestamp: int) -> list[Action]:
        change = self.desired.update(header, body)
        # An update of nothing asks whether the node is there: a question is the answer.
        if change is None or not (body.objects or body.deleted):
            self._ask_soon(now)
            return self.tick(now, timestamp)
        self._forget(change)
        return [change]

    def _on_verdicts(self, body: StatusResult, now: float, timestamp: int) -> list[Action]:
        actions: list[Action] = []
        for verdict in body.verdicts:
            # A process before this one counted its reports from one too: its verdicts say nothing about ours.
            if verdict.epoch != self.epoch or not self.outbox.settle(verdict) or verdict.code == messages.OK:
                continue
            if verdict.code in (messages.FORBIDDEN, messages.NOT_FOUND, messages.CONFLICT):
                # The object is not ours, or not what we think it is: a push was lost, so ask for the whole.
                self._ask_soon(now)
            else:
                actions += self._warn_once("status refused", f"{verdict.uid}: {verdict.reason} ({verdict.code})")
        return [*actions, *self.tick(now, timestamp)]

    def _forget(self, change: Change) -> None:
        for uid in change.forgotten:
            self.outbox.forget(uid)

    def _presence(self, *, online: bool, connection: int, timestamp: int) -> Message:
        header = Header(f"{self.node}-{self.epoch:x}-c{connection}", timestamp, node_epoch=self.epoch)
        will_epoch = self._will_epoch if self._will_epoch != self.epoch else 0
        body = Presence(online=online, connection=connection, agent=self.agent, will_epoch=will_epoch)
        topic = self.topics.node(self.node, Verb.PRESENCE)
        return Message(topic, messages.encode(header, body), retain=True)

    def _publish(self, verb: Verb, body: messages.Body, timestamp: int, event_id: str = "") -> Publish:
        if not event_id:
            self._events += 1
            event_id = f"{self.node}-{self.epoch:x}-{self._events}"
        header = Header(event_id, timestamp, cloud_epoch=self.desired.epoch or 0, node_epoch=self.epoch)
        payload = messages.encode(header, body)
        return Publish(Message(self.topics.node(self.node, verb), payload, expiry_seconds=EXPIRY_SECONDS))

    def _drop(self, reason: str) -> list[Action]:
        self.dropped += 1
        return self._warn_once("message dropped", reason)

    def _warn_once(self, event: str, reason: str) -> list[Action]:
        if event in self._warned:
            return []
        self._warned.add(event)
        return [Warn(event, reason)]
