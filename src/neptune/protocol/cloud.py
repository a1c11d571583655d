"""The cloud's end of the link as a state machine: events go in, `Action`s come out. No I/O, no clock.

Flow: a node's `get` is answered with all its objects; changes are pushed; a node's reports are handed on, and its
verdicts sent when the API server has decided. Guarantees: identity comes from the topic; until `is_ready` every
question is answered 503, so that an empty cache never reads as "delete everything". Assumptions: none about delivery.
Errors: a message that cannot be read is answered where it was a request, counted in `dropped`, and named once a node,
kind and connection. An object that no message can carry is left out and named: the other objects are not held up.
Neighbours: `controllers.link` carries out the actions; `presence` says which nodes are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from neptune.protocol import messages
from neptune.protocol.actions import EXPIRY_SECONDS, Publish
from neptune.protocol.messages import (
    CloudPresence,
    DesiredObject,
    Get,
    GetResult,
    Header,
    MessageError,
    Presence,
    StatusReport,
    StatusResult,
    StatusUpdate,
    Updated,
    Verdict,
)
from neptune.protocol.presence import PresenceTable
from neptune.protocol.topics import Topics, Verb
from neptune.transport import Message, Received

#: Bounds the memory of what has been warned about; past it everything may be said again.
_MAX_WARNED = 1000


@dataclass(frozen=True, slots=True)
class PresenceChanged:
    """The state of this node in the presence table changed."""

    node: str


@dataclass(frozen=True, slots=True)
class Reported:
    """This node reports these statuses; each wants a verdict."""

    node: str
    epoch: int
    reports: tuple[StatusReport, ...]


@dataclass(frozen=True, slots=True)
class Warn:
    """Log this for a person."""

    event: str
    node: str
    reason: str


Action = Publish | PresenceChanged | Reported | Warn


@dataclass(slots=True)
class CloudLink:
    """The link of one cloud process. `epoch` names it: higher than that of any earlier one.

    `objects_of` returns all objects of a node, from a cache that is complete once `is_ready` is set.
    """

    epoch: int
    topics: Topics
    objects_of: Callable[[str], Iterable[DesiredObject]]
    is_ready: bool = False
    presence: PresenceTable = field(default_factory=PresenceTable)
    #: Messages that could not be read or did not belong where they came.
    dropped: int = 0
    _seq: int = 0
    _warned: set[tuple[str, str]] = field(default_factory=set)

    def will(self, connection: int, timestamp: int) -> Message:
        """Return what the broker should say when that connection breaks."""
        return self._announcement(online=False, connection=connection, timestamp=timestamp)

    def announce(self, connection: int, timestamp: int) -> list[Action]:
        """Say that the cloud is there and ready; nodes that hear it ask for everything: they may have missed pushes."""
        return [Publish(self._announcement(online=True, connection=connection, timestamp=timestamp))]

    def received(self, message: Received, now: float, timestamp: int) -> list[Action]:
        """A message arrived."""
        parsed = self.topics.parse(message.topic)
        if parsed is None:
            return self._drop("", f"{message.topic[:200]}: not a topic of a node")
        node, verb = parsed
        try:
            header, body = messages.decode(message.payload)
        except MessageError as error:
            return [*self._refuse(node, verb, error, timestamp), *self._drop(node, str(error))]
        match verb, body:
            case Verb.PRESENCE, Presence():
                return self._on_presence(node, header, body, now)
            case Verb.GET, Get():
                return [*self._heard(node, header, now), *self._answer(node, header, timestamp)]
            case Verb.STATUS_UPDATE, StatusUpdate():
                # Without a complete cache an unknown uid means nothing; the node sends again.
                reported = [Reported(node, header.node_epoch, body.reports)] if self.is_ready else []
                return [*self._heard(node, header, now), *reported]
        return self._drop(node, f"a {body.TYPE} does not belong on {verb}")

    def expire(self, now: float) -> list[Action]:
        """Tell which nodes have been away for long enough. Call it at `presence.next_deadline`."""
        return [PresenceChanged(node) for node in self.presence.expire(now)]

    def push(
        self, node: str, objects: Iterable[DesiredObject], deleted: Iterable[str], timestamp: int
    ) -> list[Publish]:
        """Tell a node what changed, in as many messages as the size limit asks for.

        An object that no message can carry is left out; the next answer to the node names it.
        """
        fitting = [item for item in objects if messages.size(item) <= messages.BATCH_BYTES]
        published = [self._updated(node, Updated(batch, ()), timestamp) for batch in messages.batches(fitting)]
        published += [self._updated(node, Updated((), batch), timestamp) for batch in messages.batches(deleted)]
        return published

    def settle(self, node: str, verdicts: Iterable[Verdict], timestamp: int) -> list[Publish]:
        """Tell a node what became of its reports."""
        return [
            self._send(node, Verb.STATUS_RESULT, self._header(timestamp), StatusResult(batch))
            for batch in messages.batches(verdicts)
        ]

    def _on_presence(self, node: str, header: Header, body: Presence, now: float) -> list[Action]:
        if not body.online:
            changed = self.presence.gone(node, header.node_epoch, body.connection, now)
        else:
            changed = self.presence.alive(node, header.node_epoch, body.connection, now, will_epoch=body.will_epoch)
            # A new connection may be of a mended agent: what is wrong with this one is said anew.
            self._warned = {warned for warned in self._warned if warned[0] != node}
        return [PresenceChanged(node)] if changed else []

    def _heard(self, node: str, header: Header, now: float) -> list[Action]:
        return [PresenceChanged(node)] if self.presence.heard(node, header.node_epoch, now) else []

    def _answer(self, node: str, request: Header, timestamp: int) -> list[Action]:
        if not self.is_ready:
            reason = "the cloud has not read all objects yet; ask again"
            return [self._result(node, request.event_id, timestamp, code=messages.UNAVAILABLE, reason=reason)]
        # One number for all parts, taken before the objects are read: every later push is newer.
        seq = self._next()
        fitting: list[DesiredObject] = []
        actions: list[Action] = []
        for item in self.objects_of(node):
            if messages.size(item) <= messages.BATCH_BYTES:
                fitting.append(item)
            else:
                name = f"{item.kind} {item.namespace}/{item.name}"
                reason = f"{name} is larger than {messages.BATCH_BYTES} bytes; the node goes without it"
                actions += self._warn_once(node, "object too large", reason)
        parts = list(messages.batches(fitting)) or [()]
        header = self._header(timestamp, seq=seq, event_id=request.event_id)
        actions += [
            self._send(node, Verb.GET_RESULT, header, GetResult(number, len(parts), objects))
            for number, objects in enumerate(parts, start=1)
        ]
        return actions

    def _refuse(self, node: str, verb: Verb, error: MessageError, timestamp: int) -> list[Action]:
        if verb is not Verb.GET:
            return []
        return [self._result(node, "", timestamp, code=error.code, reason=str(error))]

    def _result(self, node: str, event_id: str, timestamp: int, *, code: int, reason: str) -> Publish:
        header = Header(event_id, timestamp, cloud_epoch=self.epoch, code=code, reason=reason)
        return self._send(node, Verb.GET_RESULT, header, GetResult(1, 1, ()))

    def _updated(self, node: str, body: Updated, timestamp: int) -> Publish:
        return self._send(node, Verb.UPDATED, self._header(timestamp), body)

    def _announcement(self, *, online: bool, connection: int, timestamp: int) -> Message:
        header = Header(f"cloud-{self.epoch:x}-c{connection}", timestamp, cloud_epoch=self.epoch)
        return Message(self.topics.cloud(), messages.encode(header, CloudPresence(online)), retain=True)

    def _header(self, timestamp: int, *, seq: int | None = None, event_id: str = "") -> Header:
        number = self._next() if seq is None else seq
        return Header(event_id or f"cloud-{self.epoch:x}-{number}", timestamp, cloud_epoch=self.epoch, seq=number)

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _send(self, node: str, verb: Verb, header: Header, body: messages.Body) -> Publish:
        topic = self.topics.node(node, verb)
        # The echo tells a process that starts below an earlier one, for want of its disk or its clock, to go above it.
        header = replace(header, node_epoch=self.presence.highest_epoch(node))
        return Publish(Message(topic, messages.encode(header, body), expiry_seconds=EXPIRY_SECONDS))

    def _drop(self, node: str, reason: str) -> list[Action]:
        self.dropped += 1
        return self._warn_once(node, "message dropped", reason)

    def _warn_once(self, node: str, event: str, reason: str) -> list[Action]:
        if (node, event) in self._warned:
            return []
        if len(self._warned) >= _MAX_WARNED:
            self._warned.clear()
        self._warned.add((node, event))
        return [Warn(event, node, reason)]
