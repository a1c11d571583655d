"""The cloud's end of the link, alive: carries events to `protocol.cloud.CloudLink` and its actions to the transport.

Invariant: what waits for a node is bounded by that node's objects, and what is sent is read at the moment of sending:
one slow broker neither grows memory nor sends yesterday's state. A node waits for a turn and not for another node, and
of its questions only the newest is worked on: a cloud that is behind would else answer what nobody asks any more.
Neighbours: the downstream reconciler calls `push`, the upstream one `settle`; `app` puts them together.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from neptune.clock import Clock
from neptune.controllers import patience
from neptune.log import get_logger
from neptune.protocol.actions import Publish
from neptune.protocol.cloud import Action, Asked, CloudLink, PresenceChanged, Reported, Warn
from neptune.protocol.credentials import MAX_OUT, CredentialsAsked, CredentialsTold
from neptune.protocol.messages import Verdict
from neptune.protocol.presence import DEBOUNCE_SECONDS, NodeState
from neptune.transport import Connected, Disconnected, Event, Published, Received, Session, Transport, TransportClosed

log = get_logger()

#: Nodes that have their turn at a time: as many messages as a broker has without an acknowledgement (mosquitto's
#: max_inflight_messages).
TURNS = 20
#: Messages that are taken in before everybody else has a turn on the loop: at a millisecond each nobody waits for long,
#: and workers that have much to do do not keep the link from reading.
MESSAGES_A_TURN = 16
#: How long a verdict waits for others of its node (seconds): writes end one by one, and no node waits for its verdict
#: to go on.
GATHER_SECONDS = 0.05
#: No event for so long may be a pause of this process (seconds).
PAUSE_SECONDS = 1.0
#: How long what waits may take to go out at the end (seconds).
FINISH_SECONDS = 1.0
#: Bounds the memory of what has been logged as denied; past it everything may be said again.
_MAX_DENIED = 1000


@dataclass(slots=True)
class _Waiting:
    """What should go to one node next."""

    question: Asked | None = None
    #: A refusal, or the announcement.
    notices: list[Publish] = field(default_factory=list)
    pushes: set[str] = field(default_factory=set)
    verdicts: list[Verdict] = field(default_factory=list)
    told: list[CredentialsTold] = field(default_factory=list)
    is_asked: bool = False


class Link:
    """Runs a `CloudLink` over a transport.

    `on_report`, `on_presence` and `on_credentials` are called on the loop and must not block.
    """

    def __init__(self, core: CloudLink, transport: Transport, clock: Clock) -> None:
        self.core = core
        self.on_report: Callable[[Reported], None] = lambda reported: None
        self.on_presence: Callable[[str], None] = lambda node: None
        self.on_credentials: Callable[[CredentialsAsked], None] = lambda asked: None
        self.is_connected = False
        #: Since the start: verdicts by code, and publishes by what became of them.
        self.verdicts: Counter[int] = Counter()
        self.publishes: Counter[Published] = Counter()
        self._transport = transport
        self._clock = clock
        #: The monotonic time at which the connection came up or broke; without one yet, of the start.
        self._changed_at = clock.monotonic()
        self._connection = 0
        self._waiting: dict[str, _Waiting] = {}
        self._settled: dict[str, list[Verdict]] = {}
        self._senders: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(TURNS)
        self._last_trouble = ""
        self._denied: set[str] = set()

    async def run(self) -> None:
        """Serve nodes until cancelled; then say goodbye to them."""
        self._changed_at = self._clock.monotonic()
        session = Session(self.core.topics.filters_of_cloud(), lambda number: self.core.will(number, self._timestamp()))
        await self._transport.open(session)
        handled = 0
        try:
            while True:
                began = self._clock.monotonic()
                try:
                    async with asyncio.timeout_at(self._wake_at()):
                        event = await self._transport.next_event()
                except TimeoutError:
                    self._carry_out(self.core.expire(self._clock.monotonic()))
                else:
                    if self._clock.monotonic() - began > PAUSE_SECONDS:
                        # This process may have stood still. If it has lost its leadership in that time, the timer that
                        # says so is due, and comes before what the successor's nodes say.
                        await asyncio.sleep(0)
                    self._on_event(event)
                    handled += 1
                    if handled % MESSAGES_A_TURN == 0:
                        # What has come waits for nobody: without this all of it would be one turn of the loop.
                        await asyncio.sleep(0)
        except TransportClosed:
            pass
        finally:
            await self._finish()

    async def _finish(self) -> None:
        """Send what waits, such as the verdicts on the last writes, then say goodbye."""
        for node in [*self._settled]:
            self._tell_verdicts(node)
        senders = list(self._senders.values())
        if senders:
            _, late = await asyncio.wait(senders, timeout=FINISH_SECONDS)
            for sender in late:
                sender.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._transport.close(self.core.will(self._connection, self._timestamp()))

    def state(self, node: str) -> NodeState | None:
        """Return what is known of a node, or None while there is no connection to know by."""
        return self.core.presence.state(node) if self.is_connected else None

    @property
    def unread(self) -> int:
        """Messages that were too large, or came faster than they were read."""
        return self._transport.dropped

    @property
    def unsettled_seconds(self) -> float:
        """For how many more seconds the broker may be telling which nodes are there; none are left at zero or below."""
        return self._changed_at + patience.PATIENCE_SECONDS - self._clock.monotonic()

    @property
    def young_seconds(self) -> float:
        """For how many more seconds a node that was not heard of may only be flapping; as above."""
        return self._changed_at + DEBOUNCE_SECONDS - self._clock.monotonic()

    def ready(self) -> None:
        """Answer nodes from now on: the cache holds all that there is. They are told to ask."""
        self.core.is_ready = True
        self._announce()

    def push(self, node: str, uid: str) -> None:
        """Tell a node soon what that object is now: its spec, or that the node has to forget it."""
        self._for(node).pushes.add(uid)

    def ask(self, node: str) -> None:
        """Have a node synchronise soon, once however often this is called meanwhile."""
        self._for(node).is_asked = True

    def settle(self, node: str, verdict: Verdict) -> None:
        """Tell a node soon what became of its report, in one message with those that come right after it."""
        self.verdicts[verdict.code] += 1
        if node not in self._settled:
            self._settled[node] = []
            asyncio.get_running_loop().call_later(GATHER_SECONDS, self._tell_verdicts, node)
        self._settled[node].append(verdict)

    def _tell_verdicts(self, node: str) -> None:
        if verdicts := self._settled.pop(node, None):
            self._for(node).verdicts += verdicts

    def tell(self, node: str, told: CredentialsTold) -> None:
        """Tell a node soon the credentials that it asked for, or why it gets none."""
        waiting = self._for(node).told
        # A node that asks for more than it may has its oldest questions forgotten; it repeats them.
        del waiting[: len(waiting) + 1 - MAX_OUT]
        waiting.append(told)

    def _wake_at(self) -> float | None:
        deadline = self.core.presence.next_deadline()
        if deadline is None:
            return None
        return asyncio.get_running_loop().time() + max(0.0, deadline - self._clock.monotonic())

    def _on_event(self, event: Event) -> None:
        match event:
            case Connected(connection):
                log.info("broker connected", connection=connection)
                self._connection, self._last_trouble = connection, ""
                self.is_connected, self._changed_at = True, self._clock.monotonic()
                self._announce()
            case Disconnected(reason, retry):
                if self.is_connected:
                    self.is_connected, self._changed_at = False, self._clock.monotonic()
                if reason != self._last_trouble:
                    log.warning("broker unreachable", reason=reason, retry_seconds=round(retry, 1))
                self._last_trouble = reason
            case Received():
                self._carry_out(self.core.received(event, self._clock.monotonic(), self._timestamp()))

    def _announce(self) -> None:
        # Not before both hold: a node that asked too early would be told to wait, and ask again some seconds later.
        if self.core.is_ready and self.is_connected:
            self._carry_out(self.core.announce(self._connection, self._timestamp()))

    def _carry_out(self, actions: list[Action]) -> None:
        notices: dict[str, list[Publish]] = {}
        for action in actions:
            match action:
                case Publish(message):
                    parsed = self.core.topics.parse(message.topic)
                    # The announcement goes to everybody; it waits under the name that no node has.
                    notices.setdefault(parsed[0] if parsed else "", []).append(action)
                case PresenceChanged(node):
                    log.info("node presence", node=node, state=self.core.presence.state(node).value)
                    self.on_presence(node)
                case Reported():
                    self.on_report(action)
                case CredentialsAsked():
                    self.on_credentials(action)
                case Asked(node):
                    self._for(node).question = action
                case Warn(warning, node, reason):
                    log.warning(warning, node=node, reason=reason)
        for node, said in notices.items():
            # Newer ones make older ones useless: a node that was refused has asked again.
            self._for(node).notices = said

    def _for(self, node: str) -> _Waiting:
        if node not in self._senders:
            self._senders[node] = asyncio.create_task(self._send(node), name=f"send to {node or 'all'}")
        return self._waiting.setdefault(node, _Waiting())

    async def _send(self, node: str) -> None:
        try:
            while node in self._waiting:
                async with self._turns:
                    for publish in self._messages(node):
                        self._note(publish.message.topic, await self._transport.publish(publish.message))
        finally:
            del self._senders[node]

    def _note(self, topic: str, outcome: Published) -> None:
        """Count, and log a refusal, once a topic until the broker takes a message there."""
        self.publishes[outcome] += 1
        if outcome is Published.DENIED and topic not in self._denied:
            if len(self._denied) >= _MAX_DENIED:
                self._denied.clear()
            self._denied.add(topic)
            remedy = "let this user write to the topics of every node (deploy/broker)"
            log.error("broker refused a publish", topic=topic, remedy=remedy)
        elif outcome in (Published.ACCEPTED, Published.NO_RECEIVER):
            self._denied.discard(topic)

    def _messages(self, node: str) -> list[Publish]:
        waiting, now = self._waiting.pop(node), self._timestamp()
        answer = [] if waiting.question is None else self.core.answer(waiting.question, now)
        found = {uid: self.core.inventory.object(node, uid) for uid in sorted(waiting.pushes)}
        objects = [item for item in found.values() if item is not None]
        deleted = [uid for uid, item in found.items() if item is None]
        return [
            *waiting.notices,
            *answer,
            *self.core.push(node, objects, deleted, now),
            *self.core.settle(node, waiting.verdicts, now),
            *(self.core.tell(node, told, now) for told in waiting.told),
            *([self.core.ask(node, now)] if waiting.is_asked else []),
        ]

    def _timestamp(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
