"""Two nodes and a cloud on a broker that loses, doubles and reorders, on virtual time with a seed.

The ends are the real state machines. What is here is the least that drives them: an agent that counts, an API server
that keeps objects and statuses, and a broker with retained messages and wills. `World.run` fails when time stands
still.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from neptune.protocol import cloud, messages, node
from neptune.protocol.actions import Publish
from neptune.protocol.desired import Change, DesiredState
from neptune.protocol.digest import spec_hash
from neptune.protocol.messages import DesiredObject, StatusReport, Verdict
from neptune.protocol.topics import TO_CLOUD, Topics
from neptune.transport import Message, Received
from tests.protocol.samples import a_report, hear
from tests.support.inventory import LiveInventory

TOPICS = Topics()
NODES = ("edge0", "edge1")
CLOUD = "cloud"
#: More steps at one moment than any honest burst takes.
STANDSTILL = 2000


@dataclass(slots=True)
class Agent:
    """A node: its link, and what it counted last of each object. Both are gone after a restart, or the link alone."""

    name: str
    link: node.NodeLink
    counted: dict[str, StatusReport] = field(default_factory=dict)


@dataclass(slots=True)
class Api:
    """What survives a restart of the cloud: objects by uid with their node, and the status written last."""

    objects: dict[str, tuple[str, DesiredObject]] = field(default_factory=dict)
    written: dict[str, tuple[str, StatusReport]] = field(default_factory=dict)
    #: What the upstream of one cloud process knows: who wrote last, and the epoch and number of the report.
    newest: dict[str, tuple[str, tuple[int, int]]] = field(default_factory=dict)

    def copy(self) -> Api:
        """Return what a backup would hold."""
        return Api(dict(self.objects), dict(self.written))

    def of(self, name: str) -> list[DesiredObject]:
        return [item for owner, item in self.objects.values() if owner == name]

    def statuses_of(self, name: str) -> list[StatusReport]:
        return [report for uid, (_, report) in self.written.items() if self.objects.get(uid, ("", None))[0] == name]

    def write(self, name: str, epoch: int, report: StatusReport) -> int:
        """Write a report unless the object is gone, another's or of another generation; return the verdict's code."""
        owner, item = self.objects.get(report.uid, ("", None))
        if item is None:
            return messages.NOT_FOUND
        if owner != name:
            return messages.FORBIDDEN
        if item.generation != report.observed_generation:
            return messages.CONFLICT
        writer, order = self.newest.get(report.uid, ("", (0, 0)))
        if writer != name or order <= (epoch, report.seq):
            self.newest[report.uid] = (name, (epoch, report.seq))
            self.written[report.uid] = (name, replace(report, seq=0))
        return messages.OK


class World:
    """Everything, and its faults as methods. Until `heal` each message arrives as often as one of `copies` says."""

    def __init__(self, seed: int, *, copies: tuple[int, ...] = (1,)) -> None:
        self.rng = Random(seed)  # noqa: S311  # a schedule, not a secret
        self.now = 0.0
        self.is_faulty = True
        #: Messages that reached the broker.
        self.messages: list[Message] = []
        self._copies = copies
        self.deposed: cloud.CloudLink | None = None
        self.backup: Api | None = None
        self.api = Api()
        self._numbers = itertools.count(1)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._retained: dict[str, Message] = {}
        self._connection = dict.fromkeys((*NODES, CLOUD), 0)
        self._connected: set[str] = set()
        self.cloud = self._new_cloud(next(self._numbers))
        self.agents = {name: Agent(name, self._new_link(name, {})) for name in NODES}
        for name in (CLOUD, *NODES):
            self.connect(name)

    # Time

    def run(self, until: float) -> None:
        """Let everything happen that is due until then."""
        steps = 0
        while (moment := self._next()) <= until:
            steps = steps + 1 if moment <= self.now else 0
            assert steps < STANDSTILL, f"time stands still at {self.now}"
            self.now = max(self.now, moment)
            while self._due and self._due[0][0] <= self.now:
                heapq.heappop(self._due)[2]()
            for agent in self.agents.values():
                self._carry_out(agent, agent.link.tick(self.now, 0))
            self._carry_out_cloud(self.cloud.expire(self.now))
        self.now = until

    def _next(self) -> float:
        deadlines = [agent.link.next_deadline() for agent in self.agents.values()]
        deadlines.append(self.cloud.presence.next_deadline())
        if self._due:
            deadlines.append(self._due[0][0])
        return min((moment for moment in deadlines if moment is not None), default=float("inf"))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), action))

    # The broker

    def _send(self, sender: str, message: Message) -> None:
        if sender not in self._connected:
            return
        if message.retain:
            self._retained[message.topic] = message
        self.messages.append(message)
        copies = self.rng.choice(self._copies) if self.is_faulty else 1
        for _ in range(copies):
            delay = self.rng.choice((0.0, 0.1, 5.0)) * self.rng.random() if self.is_faulty else 0.01
            self._later(delay, partial(self._deliver, message, retained=False))

    def _deliver(self, message: Message, *, retained: bool, only: str = "") -> None:
        parsed = TOPICS.parse(message.topic)
        match parsed:
            case None:
                receivers: tuple[str, ...] = NODES
            case (_, verb) if verb in TO_CLOUD:
                receivers = (CLOUD,)
            case (name, _):
                receivers = (name,)
        for receiver in receivers:
            if receiver not in self._connected or only not in ("", receiver):
                continue
            event = Received(message.topic, message.payload, retained, self._connection[receiver])
            if receiver == CLOUD:
                self._carry_out_cloud(hear(self.cloud, event, self.now, 0))
            else:
                agent = self.agents[receiver]
                self._carry_out(agent, agent.link.received(event, self.now, 0))

    def connect(self, who: str) -> None:
        """Bring a connection up; the broker replays what it retains."""
        self._connected.add(who)
        self._connection[who] += 1
        if who == CLOUD:
            self._announce()
        else:
            self._carry_out(self.agents[who], self.agents[who].link.connected(self._connection[who], self.now, 0))
        for message in list(self._retained.values()):
            self._deliver(message, retained=True, only=who)

    def disconnect(self, who: str) -> None:
        """Break a connection; the broker publishes the will, some time."""
        if who not in self._connected:
            return
        link = self.cloud if who == CLOUD else self.agents[who].link
        self._send(who, link.will(self._connection[who], 0))
        self._connected.discard(who)
        if isinstance(link, node.NodeLink):
            link.disconnected()

    # The cloud

    def _new_cloud(self, epoch: int) -> cloud.CloudLink:
        return cloud.CloudLink(epoch, TOPICS, LiveInventory(self.api.of, self.api.statuses_of), is_ready=True)

    def restart_cloud(self, *, keep_epoch: bool = False, epoch: int | None = None) -> None:
        """Kill the cloud; the new process answers once its cache is complete. A clock may give it an old epoch."""
        self.disconnect(CLOUD)
        self.cloud = fresh = self._new_cloud(self.cloud.epoch if keep_epoch else epoch or next(self._numbers))
        fresh.is_ready = False
        self.api.newest.clear()
        self.connect(CLOUD)
        self._later(self.rng.uniform(0, 5), partial(self._get_ready, fresh))

    def depose_cloud(self) -> None:
        """Let another cloud take over from one that only sleeps: it knows what there was, and it may wake."""
        past = self.api.copy()
        self.deposed = cloud.CloudLink(
            self.cloud.epoch, TOPICS, LiveInventory(past.of, past.statuses_of), is_ready=True, _seq=10**6
        )
        self.restart_cloud(keep_epoch=False)

    def let_the_deposed_cloud_speak(self) -> None:
        """Let it say what it was about to say when it fell asleep, and answer whatever it is asked for a moment."""
        if self.deposed is None:
            return
        for name in NODES:
            known = self.deposed.inventory.desired(name).entries()
            objects = [item for uid in known if (item := self.deposed.inventory.object(name, uid))]
            gone = [item.uid for item in self.api.of(name) if item.uid not in known]
            self._carry_out_cloud([*self.deposed.push(name, objects, gone, 0), *self.deposed.announce(1, 0)])
            self._carry_out_cloud([*self.deposed.settle(name, [self._lie(name, item.uid) for item in objects], 0)])

    def _lie(self, name: str, uid: str) -> Verdict:
        link = self.agents[name].link
        return Verdict(uid, link.epoch, 10**9, messages.OK)

    def back_up(self) -> None:
        """Keep what the API server has."""
        self.backup = self.api.copy()

    def restore(self) -> None:
        """Take the API server back to the last backup, under a cloud that goes on."""
        if self.backup is not None:
            uids = {*self.api.objects, *self.backup.objects}
            self.api.objects, self.api.written = dict(self.backup.objects), dict(self.backup.written)
            for name in NODES:
                mine = {item.uid: item for item in self.api.of(name)}
                self._carry_out_cloud([*self.cloud.push(name, mine.values(), sorted(uids - mine.keys()), 0)])

    def _get_ready(self, fresh: cloud.CloudLink) -> None:
        fresh.is_ready = True
        if fresh is self.cloud:
            self._announce()

    def _announce(self) -> None:
        if self.cloud.is_ready and CLOUD in self._connected:
            self._carry_out_cloud(self.cloud.announce(self._connection[CLOUD], 0))

    def _carry_out_cloud(self, actions: list[cloud.Action]) -> None:
        for action in actions:
            match action:
                case Publish(message):
                    self._send(CLOUD, message)
                case cloud.Reported(name, epoch, reports):
                    for report in reports:
                        self._later(self.rng.random(), partial(self._write, name, epoch, report))

    def _write(self, name: str, epoch: int, report: StatusReport) -> None:
        verdict = Verdict(report.uid, epoch, report.seq, self.api.write(name, epoch, report))
        self._carry_out_cloud([*self.cloud.settle(name, [verdict], 0)])

    def change(self, uid: str, owner: str | None, *, url: str = "/data") -> None:
        """Create, change, move or (without an owner) delete an object, and push that as the downstream does."""
        before, item = self.api.objects.pop(uid, ("", None))
        if owner is not None:
            generation = item.generation + 1 if item is not None else 1
            spec = {"url": url, "format": "txt"}
            item = DesiredObject("Dataset", "default", uid, uid, generation, spec, spec_hash(spec))
            self.api.objects[uid] = (owner, item)
            self._carry_out_cloud([*self.cloud.push(owner, [item], [], 0)])
        if before not in ("", owner):
            self._carry_out_cloud([*self.cloud.push(before, [], [uid], 0)])

    # The nodes

    def _new_link(self, name: str, records: dict[str, DesiredObject]) -> node.NodeLink:
        desired = DesiredState(records)
        return node.NodeLink(name, next(self._numbers), TOPICS, Random(self.rng.random()), desired=desired)  # noqa: S311

    def restart_node(self, name: str, *, keep: bool, disk: Agent | None = None) -> None:
        """Kill an agent; what it kept on disk is there again, or the disk is new, or one that was copied before."""
        self.disconnect(name)
        old = disk or self.agents[name]
        self.agents[name] = agent = Agent(name, self._new_link(name, dict(old.link.desired.records) if keep else {}))
        if keep:
            agent.counted = dict(old.counted)
            for report in agent.counted.values():
                agent.link.outbox.remember(report)
        self.connect(name)

    def count(self, name: str, uid: str) -> None:
        """Let the data of an object change."""
        agent = self.agents[name]
        if item := agent.link.desired.records.get(uid):
            report = a_report(uid, next(self._numbers), generation=item.generation)
            agent.counted[uid] = report
            self._carry_out(agent, agent.link.report(report, self.now, 0))

    def _carry_out(self, agent: Agent, actions: list[node.Action]) -> None:
        for action in actions:
            match action:
                case Publish(message):
                    self._send(agent.name, message)
                case Change(stored, forgotten):
                    for uid in forgotten:
                        agent.counted.pop(uid, None)
                    for item in stored:
                        self._later(self.rng.random(), partial(self.count, agent.name, item.uid))

    # The end

    def heal(self) -> None:
        """End the faults: everybody is connected, and nothing is lost from now on."""
        self.is_faulty = False
        for who in (CLOUD, *NODES):
            if who not in self._connected:
                self.connect(who)

    def written_by(self, name: str) -> dict[str, StatusReport]:
        """Return the statuses at the API server of a node's objects, without the numbers of the link."""
        uids = {item.uid for item in self.api.of(name)}
        return {uid: report for uid, (writer, report) in self.api.written.items() if uid in uids and writer == name}
