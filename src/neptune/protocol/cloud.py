"""The cloud's end of the link as a state machine: events go in, `Action`s come out. No I/O, no clock.

Flow: a node's questions are answered from the inventory; changes are pushed; a node's reports are handed on, and its
verdicts sent when the API server has decided. Guarantees: identity comes from the topic; until `is_ready` every
question is answered 503, so that an empty cache never reads as "delete everything". A cloud whose epoch is below one
that a node has heard of goes above it and announces itself anew: nodes obey no lower one. Assumptions: none about
delivery, and that only the leader's link runs where there are several.
Errors: a message that cannot be read is answered where it was a request, counted in `dropped`, and named once a node,
kind and connection. Neighbours: `controllers.link` carries out the actions; `presence` says which nodes are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from neptune.protocol import codec, messages
from neptune.protocol.actions import EXPIRY_SECONDS, Publish
from neptune.protocol.backoff import Pace, raises
from neptune.protocol.codec import MessageError
from neptune.protocol.credentials import CredentialsAsked, CredentialsTold, objection
from neptune.protocol.digest import BUCKETS
from neptune.protocol.inventory import Inventory
from neptune.protocol.messages import (
    Answer,
    CloudPresence,
    CredentialsResult,
    DesiredObject,
    Entries,
    EntriesResult,
    Get,
    GetCredentials,
    GetEntries,
    GetObjects,
    GetResult,
    Header,
    ObjectsResult,
    Presence,
    Question,
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
#: A node that has no more than this many objects gets them all when something differs: that is one question less.
SNAPSHOT_OBJECTS = 32
#: Entries in one message: with uids as Kubernetes makes them, half of what a batch may have.
ENTRIES_PER_PART = 500
#: Nodes that a cloud lets ask in a second after its start.
ROLL_CALL_NODES_PER_SECOND = 500
NOT_READY = "the cloud has not read all objects yet; ask again"


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
class Asked:
    """This node asks: send it what `CloudLink.answer` makes of that, the sooner the better. A newer one replaces it."""

    node: str
    request: Header
    question: Question


@dataclass(frozen=True, slots=True)
class Warn:
    """Log this for a person."""

    event: str
    node: str
    reason: str


Action = Publish | PresenceChanged | Reported | Asked | CredentialsAsked | Warn


@dataclass(slots=True)
class CloudLink:
    """The link of one cloud process. `epoch` names it: higher than that of any earlier one, else it is raised.

    `inventory` is complete once `is_ready` is set. `cluster` is the uid of kube-system, empty where it is not known.
    `is_encrypted` says that messages leave this process over TLS only.
    """

    epoch: int
    topics: Topics
    inventory: Inventory
    is_ready: bool = False
    cluster: str = ""
    is_encrypted: bool = False
    presence: PresenceTable = field(default_factory=PresenceTable)
    #: Messages that could not be read or did not belong where they came.
    dropped: int = 0
    _seq: int = 0
    _connection: int = 0
    _raises: Pace = field(default_factory=raises)
    _warned: set[tuple[str, str]] = field(default_factory=set)

    def will(self, connection: int, timestamp: int) -> Message:
        """Return what the broker should say when that connection breaks."""
        return self._announcement(online=False, connection=connection, timestamp=timestamp)

    def announce(self, connection: int, timestamp: int) -> list[Action]:
        """Say that the cloud is there and ready; nodes that hear it ask: they may have missed pushes."""
        self._connection = connection
        return [Publish(self._announcement(online=True, connection=connection, timestamp=timestamp))]

    def received(self, message: Received, now: float, timestamp: int) -> list[Action]:
        """A message arrived."""
        parsed = self.topics.parse(message.topic)
        if parsed is None:
            return self._drop("", f"{message.topic[:200]}: not a topic of a node")
        node, verb = parsed
        try:
            header, body = codec.decode(message.payload)
        except MessageError as error:
            return [*self._refuse(node, verb, error, timestamp), *self._drop(node, str(error))]
        if self.cluster and header.cluster not in ("", self.cluster):
            return self._drop(node, f"the node is of cluster {header.cluster}; this is {self.cluster}")
        heeded = self._heed(node, header, verb, body, now, timestamp)
        if heeded is None:
            return self._drop(node, f"a {body.TYPE} does not belong on {verb}")
        return heeded

    def _heed(
        self, node: str, header: Header, verb: Verb, body: messages.Body, now: float, timestamp: int
    ) -> list[Action] | None:
        """Act on a message; None when it does not belong where it came."""
        match verb, body:
            case Verb.PRESENCE, Presence():
                actions = self._on_presence(node, header, body, now, timestamp)
            case Verb.GET, Get() | GetEntries() | GetObjects():
                actions = [*self._heard(node, header, now), Asked(node, header, body)]
            case Verb.GET, GetCredentials():
                actions = [*self._heard(node, header, now), *self._on_credentials(node, header, body)]
            case Verb.STATUS_UPDATE, StatusUpdate():
                # Without a complete cache an unknown uid means nothing; the node sends again.
                reported = [Reported(node, header.node_epoch, body.reports)] if self.is_ready else []
                actions = [*self._heard(node, header, now), *reported]
            case _:
                return None
        return [*self._raised(node, header, now, timestamp), *actions]

    def _raised(self, node: str, header: Header, now: float, timestamp: int) -> list[Action]:
        """Go above the epoch of another cloud that the node has heard of: the node obeys no lower one."""
        if header.cloud_epoch <= self.epoch or self._raises.left(now):
            return []
        reason = f"node {node} has heard of epoch {header.cloud_epoch}, this cloud had {self.epoch}"
        self.epoch = min(header.cloud_epoch + 1, messages.MAX_NUMBER)
        self._raises.done(now)
        warned: list[Action] = []
        if self._raises.times > 1:
            reason += "; if two cloud-controllers serve these nodes, stop one or give both --leader-elect"
            warned = self._warn_once("", "another cloud speaks", reason)
        return [*warned, *(self.announce(self._connection, timestamp) if self.is_ready else [])]

    def expire(self, now: float) -> list[Action]:
        """Tell which nodes have been away for long enough. Call it at `presence.next_deadline`."""
        return [PresenceChanged(node) for node in self.presence.expire(now)]

    def push(
        self, node: str, objects: Iterable[DesiredObject], deleted: Iterable[str], timestamp: int
    ) -> list[Publish]:
        """Tell a node what changed, in as many messages as the size limit asks for."""
        published = [self._updated(node, Updated(batch, ()), timestamp) for batch in codec.batches(objects)]
        published += [self._updated(node, Updated((), batch), timestamp) for batch in codec.batches(deleted)]
        return published

    def ask(self, node: str, timestamp: int) -> Publish:
        """Have a node synchronise: it sends the statuses that the API server has otherwise."""
        return self._updated(node, Updated((), ()), timestamp)

    def settle(self, node: str, verdicts: Iterable[Verdict], timestamp: int) -> list[Publish]:
        """Tell a node what became of its reports."""
        return [
            self._send(node, Verb.STATUS_RESULT, self._header(timestamp), StatusResult(batch))
            for batch in codec.batches(verdicts)
        ]

    def tell(self, node: str, told: CredentialsTold, timestamp: int) -> Publish:
        """Tell a node the credentials of an object, if it still is of that node, or why it gets none."""
        code, reason, values = told.code, told.reason, dict(told.values)
        if code == messages.OK and self.inventory.object(node, told.uid) is None:
            code, reason, values = messages.FORBIDDEN, "no object of this node has this uid", {}
        header = replace(self._header(timestamp, event_id=told.event_id), code=code, reason=reason)
        return self._send(node, Verb.GET_RESULT, header, CredentialsResult(told.uid, values))

    def _on_credentials(self, node: str, header: Header, question: GetCredentials) -> list[Action]:
        if not self.is_ready:
            return [CredentialsAsked(node, question.uid, header.event_id, messages.UNAVAILABLE, NOT_READY)]
        is_owner = self.inventory.object(node, question.uid) is not None
        code, reason = objection(question, is_owner=is_owner, is_encrypted=self.is_encrypted)
        warned = [] if code == messages.OK else self._warn_once(node, "credentials refused", reason)
        return [*warned, CredentialsAsked(node, question.uid, header.event_id, code, reason)]

    def _on_presence(self, node: str, header: Header, body: Presence, now: float, timestamp: int) -> list[Action]:
        if not body.online:
            changed = self.presence.gone(node, header.node_epoch, body.connection, now)
            # A will may be late, or forged where the broker has no access list: a node that is there answers.
            return [*self._changed(node, changed), self.ask(node, timestamp)]
        changed = self.presence.alive(node, header.node_epoch, body.connection, now, will_epoch=body.will_epoch)
        # A new connection may be of a mended agent: what is wrong with this one is said anew.
        self._warned = {warned for warned in self._warned if warned[0] != node}
        return self._changed(node, changed)

    @staticmethod
    def _changed(node: str, changed: bool) -> list[Action]:
        return [PresenceChanged(node)] if changed else []

    def _heard(self, node: str, header: Header, now: float) -> list[Action]:
        return self._changed(node, self.presence.heard(node, header.node_epoch, now))

    def answer(self, asked: Asked, timestamp: int) -> list[Publish]:
        """Answer a question with what holds now."""
        node, event_id = asked.node, asked.request.event_id
        if not self.is_ready:
            return [self._refusal(node, event_id, timestamp, code=messages.UNAVAILABLE, reason=NOT_READY)]
        # One number for all parts, taken before the objects are read: every later push is newer.
        header = self._header(timestamp, event_id=event_id)
        answers: Sequence[Answer]
        match question := asked.question:
            case Get():
                answers = self._on_get(node, question)
            case GetEntries():
                answers = self._entries(node, question)
            case GetObjects():
                found = {uid: self.inventory.object(node, uid) for uid in question.uids[: messages.MAX_ASKED]}
                gone = [uid for uid, item in found.items() if item is None]
                answers = _parts([item for item in found.values() if item is not None], gone)
        return [self._send(node, Verb.GET_RESULT, header, answer) for answer in answers]

    def _on_get(self, node: str, question: Get) -> Sequence[Answer]:
        desired, statuses = self.inventory.desired(node), self.inventory.statuses(node)
        if question.root != desired.root and len(desired) <= SNAPSHOT_OBJECTS:
            found = [self.inventory.object(node, uid) for uid in desired.entries()]
            # An object that is gone since takes its digest along, so that the node notices.
            parts = _parts([item for item in found if item is not None], [])
            entries = statuses.entries()
            return [
                replace(
                    part,
                    complete=True,
                    root=desired.root,
                    status_entries={item.uid: entries[item.uid] for item in part.objects if item.uid in entries},
                )
                for part in parts
            ]
        if question.root != desired.root:
            return [GetResult(desired.root, desired.buckets())]
        # Only now: an object that differs makes its status differ, too.
        status_buckets = "" if question.status_root == statuses.root else statuses.buckets()
        return [GetResult(desired.root, "", status_buckets)]

    def _entries(self, node: str, question: GetEntries) -> Sequence[Answer]:
        parts = [
            *((part, {}) for part in _cut(self.inventory.desired(node).entries(_valid(question.buckets)))),
            *(({}, part) for part in _cut(self.inventory.statuses(node).entries(_valid(question.status_buckets)))),
        ] or [({}, {})]
        return [EntriesResult(number, len(parts), *part) for number, part in enumerate(parts, start=1)]

    def _refuse(self, node: str, verb: Verb, error: MessageError, timestamp: int) -> list[Action]:
        match verb:
            case Verb.GET:
                return [self._refusal(node, "", timestamp, code=error.code, reason=str(error))]
            case Verb.STATUS_UPDATE:
                header = replace(self._header(timestamp), code=error.code, reason=str(error))
                return [self._send(node, Verb.STATUS_RESULT, header, StatusResult(()))]
        return []

    def _refusal(self, node: str, event_id: str, timestamp: int, *, code: int, reason: str) -> Publish:
        header = replace(self._header(timestamp), event_id=event_id, code=code, reason=reason)
        return self._send(node, Verb.GET_RESULT, header, GetResult(""))

    def _updated(self, node: str, body: Updated, timestamp: int) -> Publish:
        return self._send(node, Verb.UPDATED, self._header(timestamp), body)

    def _announcement(self, *, online: bool, connection: int, timestamp: int) -> Message:
        event_id = f"cloud-{self.epoch:x}-c{connection}"
        header = Header(event_id, timestamp, cloud_epoch=self.epoch, cluster=self.cluster)
        spread = 1 + len(self.inventory.nodes) // ROLL_CALL_NODES_PER_SECOND
        payload = codec.encode(header, CloudPresence(online=online, roll_call_seconds=spread))
        return Message(self.topics.cloud(), payload, retain=True)

    def _header(self, timestamp: int, *, event_id: str = "") -> Header:
        number = self._next()
        event_id = event_id or f"cloud-{self.epoch:x}-{number}"
        return Header(event_id, timestamp, cloud_epoch=self.epoch, seq=number, cluster=self.cluster)

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    def _send(self, node: str, verb: Verb, header: Header, body: messages.Body) -> Publish:
        topic = self.topics.node(node, verb)
        # The echo tells a process that starts below an earlier one, for want of its disk or its clock, to go above it.
        header = replace(header, node_epoch=self.presence.highest_epoch(node))
        return Publish(Message(topic, codec.encode(header, body), expiry_seconds=EXPIRY_SECONDS))

    def _drop(self, node: str, reason: str) -> list[Action]:
        self.dropped += 1
        return self._warn_once(node, "message dropped", reason)

    def is_first(self, node: str, event: str) -> bool:
        """Tell whether this is the first such event of the node on its connection, so that it is worth a line."""
        if (node, event) in self._warned:
            return False
        if len(self._warned) >= _MAX_WARNED:
            self._warned.clear()
        self._warned.add((node, event))
        return True

    def _warn_once(self, node: str, event: str, reason: str) -> list[Action]:
        return [Warn(event, node, reason)] if self.is_first(node, event) else []


def _parts(objects: list[DesiredObject], deleted: list[str]) -> list[ObjectsResult]:
    """Cut objects into parts that can be sent; the uids of what is gone, of which there are few, go in the first."""
    cut = list(codec.batches(objects)) or [()]
    return [
        ObjectsResult(number, len(cut), part, tuple(deleted) if number == 1 else ())
        for number, part in enumerate(cut, start=1)
    ]


def _cut(entries: Entries) -> list[Entries]:
    items = list(entries.items())
    return [dict(items[start : start + ENTRIES_PER_PART]) for start in range(0, len(items), ENTRIES_PER_PART)]


def _valid(buckets: Iterable[int]) -> list[int]:
    """Return each bucket once, and only those that there are: the work is bounded whatever a node asks."""
    return sorted({bucket for bucket in buckets if bucket < BUCKETS})
