"""The agent of one node: joins transport, protocol, store and monitor, and carries out what the link decides.

Invariant: stored before acted upon, and stored before reported. Every part may be away: without the cloud the node
counts what it has on disk and reports later; without the disk it goes on in memory.
Neighbours: `protocol.node.NodeLink` decides, `neptune.cli` makes the settings and the transport.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Protocol

from neptune import __version__
from neptune.clock import Clock, SystemClock
from neptune.edge.monitor import Monitor
from neptune.edge.reader import DiskReader, Reader
from neptune.edge.remote import is_remote
from neptune.edge.results import Result
from neptune.edge.schedule import News
from neptune.edge.snapshot import Snapshot, snapshots_of
from neptune.edge.store import Saved, Store
from neptune.edge.tasks.command import CommandRunner, TaskCommand
from neptune.edge.tasks.handover import Ports, TaskSettings
from neptune.edge.tasks.keeper import TaskKeeper
from neptune.edge.tasks.results import WorkResult
from neptune.edge.threads import in_thread
from neptune.errors import SettingsError
from neptune.log import get_logger
from neptune.protocol.actions import Publish
from neptune.protocol.credentials import CredentialsTold
from neptune.protocol.desired import Change, DesiredState
from neptune.protocol.messages import DesiredObject, StatusReport
from neptune.protocol.node import Action, NodeLink, Warn
from neptune.protocol.topics import DEFAULT_PREFIX, Topics, is_node_name
from neptune.protocol.work import is_task
from neptune.transport import Connected, Disconnected, Event, Message, Published, Received, Session, Transport

#: The kind that this agent counts.
COUNTED_KIND = "Dataset"
#: The folder of the tasks' folders, in the state directory.
TASKS = "tasks"
#: Messages that wait for their turn at the broker; past it the oldest goes. The protocol sends again what matters.
_MAX_WAITING = 64
#: How often a store that is behind is tried again (seconds).
_STORE_RETRY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What an agent has to know.

    `node` is the name that `spec.nodeName` uses. `roots` are the directories and the urls below which data may be read.
    `poll_seconds` is how often each file is looked at without a hint, `url_seconds` how often the server of an object
    is asked, `interval_seconds` the time between two numbers of a dataset, or reports of a task, that changes all the
    time. `task_command` is run for each task; without one, workers come by themselves.

    Raises:
        SettingsError: one of them cannot be used.
    """

    node: str
    state_dir: Path
    roots: tuple[str, ...] = ("/var/lib/neptune/data",)
    poll_seconds: float = 2.0
    url_seconds: float = 60.0
    interval_seconds: float = 1.0
    topic_prefix: str = DEFAULT_PREFIX
    task_command: TaskCommand | None = None

    def __post_init__(self) -> None:
        if not is_node_name(self.node):
            raise SettingsError(
                f"node name {self.node!r} cannot be used: give the name of the Kubernetes node (lower-case letters, "
                "digits, '-' and '.', 253 at most)"
            )
        if not self.roots:
            raise SettingsError("no root is given: name a directory that holds data with --root")
        for root in self.roots:
            if not (root.startswith("/") or is_remote(root)) or "\0" in root:
                raise SettingsError(f"root {root!r} is not an absolute path, nor an http(s):// or s3:// url")
        if self.poll_seconds <= 0 or self.url_seconds <= 0 or self.interval_seconds < 0:
            raise SettingsError("the poll and the report interval are times in seconds, above zero")
        Topics(self.topic_prefix)


class Local(Protocol):
    """Who else on the node wants to know what it has (`edge.localside`). Must neither block nor raise."""

    def load(self, items: Iterable[DesiredObject], reports: Iterable[StatusReport]) -> None: ...

    def stored(self, item: DesiredObject) -> None: ...

    def forgotten(self, uid: str) -> None: ...

    def reported(self, report: StatusReport) -> None: ...


class Agent:
    """The agent of one node. `run` may be called once."""

    def __init__(
        self,
        settings: AgentSettings,
        transport: Transport,
        clock: Clock | None = None,
        rng: Random | None = None,
        reader: Reader | None = None,
        local: Local | None = None,
    ) -> None:
        """Start nothing yet. `clock`, `rng` and `reader` are for tests and simulation; `local` is told what is here."""
        self._settings = settings
        self._local = local
        self._transport = transport
        self._clock = clock or SystemClock()
        self._rng = rng or Random()  # noqa: S311 - jitter, no secret
        self._reader = reader or DiskReader(settings.roots)
        self._log = get_logger(node=settings.node)
        self._store_lock = asyncio.Lock()
        # Latest only, by uid: a slow disk costs freshness, never memory.
        self._news: dict[str, News] = {}
        self._has_news = asyncio.Event()
        self._waiting: asyncio.Queue[Message] = asyncio.Queue(_MAX_WAITING)
        self._poke = asyncio.Event()
        self._down_reason: str | None = None
        self._denied: set[str] = set()
        #: Set once `run` serves: what is stored is loaded, and the broker is being called.
        self.started = asyncio.Event()

    def snapshot(self) -> Snapshot:
        """Return what the agent is doing; only once it has `started`."""
        link = self._link
        synced = link.synced_at and datetime.fromtimestamp(link.synced_at / 1000, UTC)
        return Snapshot(
            node=self._settings.node,
            connected=link.connection is not None,
            reason=self._down_reason if link.connection is None else None,
            last_sync=f"{synced:%Y-%m-%dT%H:%M:%SZ}" if synced else None,
            outbox=len(link.outbox),
            queue=self._waiting.qsize(),
            **snapshots_of(link.desired.records.values(), link.outbox.latest),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; then say goodbye and return.

        Raises:
            SettingsError: the state directory cannot be used.
        """
        with Store(self._settings.state_dir) as store:
            self._store = store
            saved = store.load()
            self._link = self._make_link(saved, store.next_epoch(self._timestamp()))
            self._monitor = Monitor(
                reader=self._reader,
                poll_seconds=self._settings.poll_seconds,
                url_seconds=self._settings.url_seconds,
                interval_seconds=self._settings.interval_seconds,
                clock=self._clock,
                tell=self._on_look,
                ask=self._ask_for_credentials,
            )
            self._tasks = self._make_tasks()
            self._watch(saved.objects.values(), saved.results)
            if self._local:
                self._local.load(saved.objects.values(), (r.report(uid) for uid, r in saved.results.items()))
            filters = self._link.topics.filters_of_node(self._settings.node)
            await self._transport.open(Session(filters, will=lambda n: self._link.will(n, self._timestamp())))
            self._log.info("agent started", objects=len(saved.objects), roots=list(self._settings.roots))
            self.started.set()
            try:
                await self._serve(stop)
            finally:
                store.save(results=self._results(self._news))
                connection = self._link.connection
                farewell = self._link.will(connection, self._timestamp()) if connection is not None else None
                await self._transport.close(farewell)
            self._log.info("agent stopped")

    def _make_link(self, saved: Saved, epoch: int) -> NodeLink:
        settings = self._settings
        agent = f"neptune-edge/{__version__}"
        desired = DesiredState(dict(saved.objects))
        link = NodeLink(settings.node, epoch, Topics(settings.topic_prefix), self._rng, agent, desired)
        link.is_encrypted = self._transport.is_encrypted
        for uid, result in saved.results.items():
            link.outbox.remember(result.report(uid))
        return link

    def _make_tasks(self) -> TaskKeeper:
        settings, command = self._settings, self._settings.task_command
        root = (settings.state_dir / TASKS).resolve()
        own = TaskSettings(settings.node, root, settings.poll_seconds, settings.interval_seconds)
        ports = Ports(
            self._samples_of,
            self._monitor.standing,
            self._keep,
            lambda report: self._on_news(News(report.uid, None, report)),
        )
        supervise = CommandRunner(command, os.environ).supervise if command else None
        return TaskKeeper(own, self._clock, self._link.desired.records, ports, supervise)

    async def _serve(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(work, name=name)
                for name, work in (
                    ("monitor", self._monitor.run()),
                    ("tasks", self._tasks.run()),
                    ("receive", self._receive()),
                    ("timer", self._keep_time()),
                    ("publish", self._publish()),
                    ("report", self._report()),
                )
            ]
            await stop.wait()
            for task in tasks:
                task.cancel()

    async def _receive(self) -> None:
        """Take what the transport tells, in order."""
        while True:
            await self._on_event(await self._transport.next_event())

    async def _on_event(self, event: Event) -> None:
        match event:
            case Connected(connection):
                self._denied.clear()
                self._down_reason = None
                self._log.info("broker connected", connection=connection)
                await self._carry_out(self._link.connected(connection, *self._now()))
            case Disconnected(reason, retry_seconds):
                self._link.disconnected()
                if reason != self._down_reason:
                    self._log.warning("broker unreachable", reason=reason, retry_seconds=round(retry_seconds, 1))
                self._down_reason = reason
                while not self._waiting.empty():
                    self._waiting.get_nowait()  # said anew on the next connection, where it still holds
            case Received():
                await self._carry_out(self._link.received(event, *self._now()))

    async def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Change):
                await self._apply(action)
            else:
                self._act(action)
        if self._link.live:
            self._tasks.synchronised()
        self._poke.set()

    def _act(self, action: Publish | CredentialsTold | Warn) -> None:
        match action:
            case CredentialsTold():
                self._monitor.keyring.take(action)
            case Publish(message):
                if self._waiting.full():
                    self._waiting.get_nowait()
                self._waiting.put_nowait(message)
            case Warn(event, reason):
                self._log.warning(event, reason=reason)

    async def _apply(self, change: Change) -> None:
        if not change.stored and not change.forgotten:
            return
        await self._save(change)
        for uid in (*change.forgotten, *(item.uid for item in change.stored)):
            self._link.asking.forget(uid)  # what is asked for may be of the Secret that it named before
        self._log.info("desired state stored", stored=len(change.stored), forgotten=len(change.forgotten))
        for uid in change.forgotten:
            self._monitor.forget(uid)
            if self._local:
                self._local.forgotten(uid)
        if self._local:
            for item in change.stored:
                self._local.stored(item)
        self._watch(change.stored)
        self._tasks.changed(change.forgotten)

    def _watch(self, items: Iterable[DesiredObject], results: Mapping[str, Result | WorkResult] | None = None) -> None:
        for item in items:
            result = results.get(item.uid) if results else None
            if item.kind == COUNTED_KIND:
                self._monitor.put(item, result if isinstance(result, Result) else None)
            elif is_task(item.kind):
                self._tasks.put(item, result if isinstance(result, WorkResult) else None)

    def _ask_for_credentials(self, uid: str) -> None:
        self._link.asking.want(uid)
        self._poke.set()

    def _on_look(self, news: News) -> None:
        self._on_news(news)
        self._tasks.looked(news.uid)

    def _on_news(self, news: News) -> None:
        older = self._news.get(news.uid)
        if older is not None:
            news = News(news.uid, news.result or older.result, news.report or older.report)
        self._news[news.uid] = news
        self._has_news.set()

    async def _report(self) -> None:
        """Store what is new, everything that has gathered at once, then report it."""
        while True:
            try:
                async with asyncio.timeout(_STORE_RETRY_SECONDS if self._store.is_behind else None):
                    await self._has_news.wait()
            except TimeoutError:
                await self._save()
                continue
            self._has_news.clear()
            news, self._news = self._news, {}
            if results := self._results(news):
                await self._save(results=results)
            for item in news.values():
                if item.report is not None and item.uid in self._link.desired.records:
                    self._link.outbox.put(item.report)
                    if self._local:
                        self._local.reported(item.report)
            await self._carry_out(self._link.tick(*self._now()))

    def _results(self, news: dict[str, News]) -> list[tuple[str, Result]]:
        return [(uid, item.result) for uid, item in news.items() if item.result is not None]

    def _samples_of(self, uid: str) -> int | None:
        report = self._link.outbox.latest(uid)
        return report.number_of_samples if report else None

    async def _keep(self, results: list[tuple[str, WorkResult]]) -> bool:
        """Store reports of tasks; return whether they are on the disk."""
        await self._save(results=results)
        return not self._store.is_behind

    async def _save(
        self, change: Change | None = None, results: Sequence[tuple[str, Result | WorkResult]] | None = None
    ) -> None:
        async with self._store_lock:
            await in_thread(self._store.save, change, results or [])

    async def _keep_time(self) -> None:
        """Let the link do what is due."""
        while True:
            self._poke.clear()
            deadline = self._link.next_deadline()
            delay = None if deadline is None else max(0.0, deadline - self._clock.monotonic())
            try:
                async with asyncio.timeout(delay):
                    await self._poke.wait()
            except TimeoutError:
                await self._carry_out(self._link.tick(*self._now()))

    async def _publish(self) -> None:
        """Hand messages to the broker one after the other, so that a slow acknowledgement never stops receiving."""
        while True:
            message = await self._waiting.get()
            outcome = await self._transport.publish(message)
            if outcome is Published.ACCEPTED:
                self._denied.discard(message.topic)
            elif outcome is Published.DENIED and message.topic not in self._denied:
                self._denied.add(message.topic)
                self._log.error(
                    "publish denied",
                    topic=message.topic,
                    remedy="let this node's user write to the topic in the access list of the broker",
                )

    def _now(self) -> tuple[float, int]:
        return self._clock.monotonic(), self._timestamp()

    def _timestamp(self) -> int:
        """Return the time of day in milliseconds."""
        return int(self._clock.now().timestamp() * 1000)
