"""The node's end of the link as a state machine: events go in, `Action`s come out. No I/O, no clock.

Flow: connected -> birth, `get` -> the synchronisation's end (`sync`) -> live: statuses go up, pushes come down. A cloud
that starts anew, a push of another epoch, a refusal and the passing of ten minutes lead back to `get`.
Guarantees: after the last fault, one synchronisation makes the node's records equal to the cloud's, and every latest
status that the API server lacks is sent until it has a verdict. Of two clouds the one with the higher epoch is obeyed
(fencing); every message tells the highest that was seen, so that a cloud which is behind without cause goes above it.
Assumptions: none about delivery; a cloud answers only when it knows all.
Errors: a message that cannot be read, is of another cluster or of a deposed cloud is dropped, counted in `dropped` and
named, once a kind and synchronisation. Neighbours: `edge.agent` carries out the actions; `sync` holds the rules
of a synchronisation, `turns` knows when the next one begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from neptune.protocol import codec, messages
from neptune.protocol.actions import EXPIRY_SECONDS, Publish
from neptune.protocol.backoff import Pace, raises
from neptune.protocol.codec import MessageError
from neptune.protocol.credentials import Asking, CredentialsTold
from neptune.protocol.desired import Change, DesiredState
from neptune.protocol.messages import (
    Answer,
    Body,
    CloudPresence,
    CredentialsResult,
    EntriesResult,
    Get,
    GetCredentials,
    GetResult,
    Header,
    ObjectsResult,
    Presence,
    Question,
    StatusReport,
    StatusResult,
    StatusUpdate,
    Updated,
)
from neptune.protocol.status import Outbox
from neptune.protocol.sync import Sync
from neptune.protocol.topics import Topics, Verb
from neptune.protocol.turns import Turn, Turns
from neptune.transport import Message, Received

#: After this long without an answer the node says so (seconds).
SILENCE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Warn:
    """Log this for a person; said once until the cause changes."""

    event: str
    reason: str


Action = Publish | Change | CredentialsTold | Warn


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
    #: The credentials that are asked for; they are forgotten by whoever wanted them.
    asking: Asking = field(init=False)
    #: Messages come to this process over TLS only.
    is_encrypted: bool = False
    #: True from the end of the first synchronisation of a connection on.
    live: bool = False
    connection: int | None = None
    #: The highest epoch of a cloud that was heard of; a lower one is deposed.
    cloud_epoch: int = 0
    #: The cluster of the first cloud that answered; others are not heard any more. Empty while unknown.
    cluster: str = ""
    #: When the cloud last told everything (a timestamp in milliseconds).
    synced_at: int | None = None
    #: Messages that could not be read or did not belong where they came.
    dropped: int = 0
    _turns: Turns = field(init=False)
    _warned: set[str] = field(default_factory=set)
    _events: int = 0
    _will_epoch: int = 0
    #: Of this node, as the cloud has heard of it.
    _highest_epoch: int = 0
    _raises: Pace = field(default_factory=raises)

    def __post_init__(self) -> None:
        self.outbox = Outbox(self.rng)
        self.asking = Asking(self.rng)
        self._turns = Turns(self.rng)

    def will(self, connection: int, timestamp: int) -> Message:
        """Return what the broker should say when that connection breaks."""
        self._will_epoch = self.epoch
        return self._presence(online=False, connection=connection, timestamp=timestamp)

    def connected(self, connection: int, now: float, timestamp: int) -> list[Action]:
        """A connection is up: announce the node and ask for everything."""
        self.connection = connection
        self.live = False
        self._turns.connected(now)
        birth = Publish(self._presence(online=True, connection=connection, timestamp=timestamp))
        return [birth, *self.tick(now, timestamp)]

    def disconnected(self) -> None:
        """The connection is gone; what the node has stays as it is."""
        self.connection, self.live = None, False
        self._turns.disconnected()

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
            header, body = codec.decode(message.payload)
        except MessageError as error:
            return self._drop(f"{topic}: {error}")
        if self.cluster and header.cluster not in ("", self.cluster):
            return self._drop(f"{topic}: of cluster {header.cluster}; this node obeys {self.cluster}")
        if not self._belongs(topic, body):
            return self._drop(f"{topic}: a {body.TYPE} does not belong on this topic")
        if header.cloud_epoch < self.cloud_epoch:
            return self._refuse(header, now, timestamp)
        self.cloud_epoch = header.cloud_epoch
        if isinstance(body, CloudPresence):
            return self._on_cloud(body, message.retained, now, timestamp)
        self._highest_epoch = max(self._highest_epoch, header.node_epoch)
        actions = self._caught_up(now, timestamp)
        match body:
            case Updated():
                actions += self._on_update(header, body, now, timestamp)
            case StatusResult():
                actions += self._on_verdicts(header, body, now, timestamp)
            case GetResult() | EntriesResult() | ObjectsResult():
                actions += self._on_answer(header, body, now, timestamp)
            case CredentialsResult(uid, values) if self.asking.answered(uid, header.event_id, header.code):
                actions += [CredentialsTold(uid, header.event_id, header.code, header.reason, values)]
                actions += self.tick(now, timestamp)
        return actions

    def _belongs(self, topic: str, body: Body) -> bool:
        if topic == self.topics.cloud():
            return isinstance(body, CloudPresence)
        match self.topics.parse(topic):
            case (self.node, Verb.GET_RESULT):
                return isinstance(body, (GetResult, EntriesResult, ObjectsResult, CredentialsResult))
            case (self.node, Verb.UPDATED):
                return isinstance(body, Updated)
            case (self.node, Verb.STATUS_RESULT):
                return isinstance(body, StatusResult)
        return False

    def _refuse(self, header: Header, now: float, timestamp: int) -> list[Action]:
        """Refuse what a deposed cloud says. A question tells it the epoch of its successor, in case it is none."""
        self.dropped += 1
        self._turns.ask_soon(now)
        reason = f"it is of epoch {header.cloud_epoch}, and epoch {self.cloud_epoch} was heard of; not obeyed"
        return [*self._warn_once("an earlier cloud speaks", reason), *self.tick(now, timestamp)]

    def tick(self, now: float, timestamp: int) -> list[Action]:
        """Do what is due: ask, ask again, send statuses. Call it at `next_deadline`."""
        if self.connection is None:
            return []
        actions = self._caught_up(now, timestamp)
        if (turn := self._turns.next) is not None and turn.at <= now:
            actions += self._begin(now, timestamp)
        if self.live:
            actions += self._report(now, timestamp)
            for uid in self.asking.due(now):
                event_id = self._event_id()
                self.asking.asked(uid, event_id, now)
                actions.append(self._publish(Verb.GET, GetCredentials(uid, self.is_encrypted), timestamp, event_id))
        return actions

    def _report(self, now: float, timestamp: int) -> list[Action]:
        """Send the statuses that are due; where verdicts fail to come, which a broker does not tell, say so."""
        batches = codec.batches(self.outbox.due(now))
        actions: list[Action] = [self._publish(Verb.STATUS_UPDATE, StatusUpdate(each), timestamp) for each in batches]
        since = self.outbox.unanswered_since()
        if actions and since is not None and now - since >= SILENCE_SECONDS:
            told, answered = (self.topics.node(self.node, verb) for verb in (Verb.STATUS_UPDATE, Verb.STATUS_RESULT))
            actions += self._warn_once(
                "statuses are not answered",
                "cloud-controller is away or cannot write to its API server, or the broker does not let it read "
                f"{told} or this node read {answered}; sending again",
            )
        return actions

    def next_deadline(self) -> float | None:
        """Return when `tick` has something to do next, or None while nothing is planned."""
        if self.connection is None:
            return None
        times = [self._turns.next.at] if self._turns.next is not None else []
        if self._highest_epoch > self.epoch:
            times.append(self._raises.at)
        if self.live:
            times += [due for due in (self.outbox.next_due(), self.asking.next_due()) if due is not None]
        return min(times, default=None)

    def _caught_up(self, now: float, timestamp: int) -> list[Action]:
        """Go above an epoch that the cloud has heard of, in time, and send again: it took nothing from below."""
        highest = self._highest_epoch
        if highest <= self.epoch or self.connection is None or self._raises.left(now):
            return []
        self.epoch = min(highest + 1, messages.MAX_NUMBER)
        self._raises.done(now)
        self.outbox.hurry()
        warned: list[Action] = []
        if self._raises.times > 1:
            reason = f"the cloud hears of a node {self.node} of epoch {highest}; give each agent a --node of its own"
            warned = self._warn_once("another agent has this name", reason)
        return [*warned, Publish(self._presence(online=True, connection=self.connection, timestamp=timestamp))]

    def _begin(self, now: float, timestamp: int) -> list[Action]:
        """Start a synchronisation; one whose answer did not come is given up."""
        silence = self._turns.begin(now)
        sync = Sync(self.desired, self.outbox)
        actions = self._ask(sync, sync.begin(), now, timestamp)
        if silence >= SILENCE_SECONDS:
            actions += self._warn_once(
                "cloud does not answer",
                "no cloud-controller runs on this broker, or the broker does not let this node use its topics; "
                "asking again",
            )
        return actions

    def _ask(self, sync: Sync, question: Question, now: float, timestamp: int) -> list[Action]:
        event_id = self._event_id()
        self._turns.asked(sync, event_id, now, asked_after=self.desired.newest)
        return [self._publish(Verb.GET, question, timestamp, event_id)]

    def _on_cloud(self, body: CloudPresence, retained: bool, now: float, timestamp: int) -> list[Action]:
        # A birth that the broker replays is older than our subscription, and so than our question: it tells nothing.
        # Any other tells that the cloud was away.
        if body.online and not retained:
            self._turns.roll_call(now, body.roll_call_seconds)
        return self.tick(now, timestamp)

    def _on_answer(self, header: Header, answer: Answer, now: float, timestamp: int) -> list[Action]:
        turn = self._turns.next
        if turn is None or turn.sync is None:
            return []
        # A cloud that could not read the question cannot tell its event_id either.
        is_unread = header.code != messages.OK and not header.event_id
        if header.event_id != turn.event_id and not is_unread:
            return []
        if header.code != messages.OK:
            # The question stays out: `turn.at` asks again. But this is an answer, so there is no silence.
            self._turns.silent_since = None
            if header.code == messages.UNAVAILABLE:
                return []
            return self._warn_once("cloud refused to synchronise", f"{header.reason} ({header.code})")
        return self._on_good_answer(turn, turn.sync, header, answer, now, timestamp)

    def _on_good_answer(
        self, turn: Turn, sync: Sync, header: Header, answer: Answer, now: float, timestamp: int
    ) -> list[Action]:
        question = sync.question
        if self.desired.follow(header, asked_after=turn.asked_after):
            # What the cloud before took is not this one's business.
            self.live = False
            if not isinstance(question, Get):
                return self._begin(now, timestamp)
        change = sync.take(header, answer)
        if change is None:
            return []
        self.cluster = self.cluster or header.cluster
        self._turns.silent_since = None
        if sync.question is question:
            return [change]  # parts are missing
        self._turns.answered()
        if sync.question is not None:
            return [change, *self._ask(sync, sync.question, now, timestamp)]
        return [change, *self._end(sync, now, timestamp)]

    def _end(self, sync: Sync, now: float, timestamp: int) -> list[Action]:
        """A synchronisation is through: statuses may go up, and the next one is planned."""
        self.synced_at = timestamp
        self._warned.clear()
        if not self.live:
            self.live = True
            self.outbox.hurry()
            self.asking.hurry()
        self._turns.end(sync, now)
        actions: list[Action] = []
        if held := self.desired.held:
            reason = f"{held} of {len(self.desired.records)} objects are gone in the cloud; asking a second time first"
            actions += self._warn_once("many objects to forget", reason)
        return [*actions, *self.tick(now, timestamp)]

    def _on_update(self, header: Header, body: Updated, now: float, timestamp: int) -> list[Action]:
        change = self.desired.update(header, body)
        # An update of nothing asks whether the node is there: a question is the answer.
        if change is None or not (body.objects or body.deleted):
            self._turns.ask_soon(now)
            return self.tick(now, timestamp)
        for uid in change.forgotten:
            self.outbox.forget(uid)
        return [change]

    def _on_verdicts(self, header: Header, body: StatusResult, now: float, timestamp: int) -> list[Action]:
        actions: list[Action] = []
        if header.code != messages.OK:
            actions += self._warn_once("status refused", f"{header.reason} ({header.code})")
        for verdict in body.verdicts:
            # A process before this one counted its reports from one too: its verdicts say nothing about ours.
            if verdict.epoch != self.epoch or not self.outbox.settle(verdict) or verdict.code == messages.OK:
                continue
            if verdict.code in (messages.FORBIDDEN, messages.NOT_FOUND, messages.CONFLICT):
                self._turns.refused(now)
            else:
                actions += self._warn_once("status refused", f"{verdict.uid}: {verdict.reason} ({verdict.code})")
        return [*actions, *self.tick(now, timestamp)]

    def _presence(self, *, online: bool, connection: int, timestamp: int) -> Message:
        will_epoch = self._will_epoch if self._will_epoch != self.epoch else 0
        body = Presence(online=online, connection=connection, agent=self.agent, will_epoch=will_epoch)
        topic = self.topics.node(self.node, Verb.PRESENCE)
        header = self._header(f"{self.node}-{self.epoch:x}-c{connection}", timestamp)
        return Message(topic, codec.encode(header, body), retain=True)

    def _publish(self, verb: Verb, body: Body, timestamp: int, event_id: str = "") -> Publish:
        payload = codec.encode(self._header(event_id or self._event_id(), timestamp), body)
        return Publish(Message(self.topics.node(self.node, verb), payload, expiry_seconds=EXPIRY_SECONDS))

    def _event_id(self) -> str:
        self._events += 1
        return f"{self.node}-{self.epoch:x}-{self._events}"

    def _header(self, event_id: str, timestamp: int) -> Header:
        return Header(event_id, timestamp, cloud_epoch=self.cloud_epoch, node_epoch=self.epoch, cluster=self.cluster)

    def _drop(self, reason: str) -> list[Action]:
        self.dropped += 1
        return self._warn_once("message dropped", reason)

    def _warn_once(self, event: str, reason: str) -> list[Action]:
        if event in self._warned:
            return []
        self._warned.add(event)
        return [Warn(event, reason)]
