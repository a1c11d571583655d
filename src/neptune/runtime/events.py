"""Events for people, as `kubectl describe` shows them: `ctx.events.warning(dataset, "OutsideRoots", "move the data")`.

Invariant: recording never blocks and never fails a reconcile. Memory is bounded, what finds no room is counted, and an
event that repeats is one object with a growing count, written at most once a minute.
`EventLog` decides (no I/O, time is an argument); `EventRecorder` writes.
Neighbours: `manager` runs it, `context` offers it.
Figures of client-go (tools/events/event_broadcaster.go, tools/record/events_cache.go) where not said otherwise.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from neptune.api.machinery import Event, EventSeries, ObjectReference
from neptune.api.meta import ObjectMeta, Resource
from neptune.api.unstructured import PartialObjectMetadata
from neptune.clock import Clock
from neptune.errors import SettingsError
from neptune.log import get_logger
from neptune.runtime.client import Client
from neptune.runtime.errors import (
    AlreadyExists,
    ApiError,
    ApiUnreachable,
    DecodeError,
    NotFound,
    ServerError,
    TooManyRequests,
)
from neptune.runtime.metrics import Metrics
from neptune.runtime.problems import text
from neptune.runtime.query import describe
from neptune.runtime.watch import Snapshot

#: maxQueuedEvents: series in memory, written or not.
MAX_SERIES = 1000
#: maxBurst: different events of one object in memory; an object with more has a message that varies.
MAX_SERIES_OF_OBJECT = 25
#: finishTime: a series that was quiet for so long has ended; what comes later is another event.
SERIES_SECONDS = 360.0
#: The first repeat is written at once, further ones together after this. Ours: client-go waits for the series to end.
REPEAT_SECONDS = 60.0
RETRY_SECONDS = 10.0
MAX_TRIES = 12
#: NoteLengthLimit and the like in kubernetes/pkg/apis/core/validation/events.go; a note is measured in bytes.
MAX_NOTE_BYTES = 1024
MAX_WORD_LENGTH = 128

EventType = Literal["Normal", "Warning"]


@dataclass(frozen=True, slots=True)
class Occurrence:
    """What happened, and to which object. Equal ones are one series."""

    type: EventType
    reason: str
    note: str
    action: str
    controller: str
    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    @property
    def object(self) -> tuple[str, str, str, str]:
        """What tells objects apart."""
        return self.kind, self.namespace, self.name, self.uid


@dataclass(eq=False, slots=True)
class Series:
    """One event and its repeats. `written` is the count that the server has, `due_at` when it is to be written next."""

    what: Occurrence
    first: datetime
    last: datetime
    last_at: float
    due_at: float | None
    count: int = 1
    written: int = 0
    written_at: float = 0.0
    tries: int = 0
    event: Event | None = None


class EventLog:
    """Which events there are, and which is to be written next. `now` is seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._series: dict[Occurrence, Series] = {}

    def __len__(self) -> int:
        return len(self._series)

    def record(self, what: Occurrence, now: float, wall: datetime) -> bool:
        """Take in an event; False when there is no room for it."""
        self._forget_ended(now)
        series = self._series.get(what)
        if series is None:
            of_object = sum(1 for other in self._series if other.object == what.object)
            if len(self._series) >= MAX_SERIES or of_object >= MAX_SERIES_OF_OBJECT:
                return False
            self._series[what] = Series(what, wall, wall, now, now)
            return True
        series.count += 1
        series.last, series.last_at = wall, now
        if series.due_at is None:
            series.due_at = self._next_at(series, now)
        return True

    def next(self, now: float) -> tuple[Series | None, float | None]:
        """Return what is to be written now, else None and in how many seconds something will be; None for never."""
        due = min(
            ((each.due_at, each) for each in self._series.values() if each.due_at is not None), key=_time, default=None
        )
        if due is None:
            return None, None
        return (due[1], 0.0) if due[0] <= now else (None, due[0] - now)

    def unwritten(self) -> list[Series]:
        """Return what the server does not have, without what it refused to take lately."""
        return [each for each in self._series.values() if each.count > each.written and not each.tries]

    def wrote(self, series: Series, count: int, event: Event, now: float) -> None:
        """Take in that the server has this many of a series."""
        series.event, series.written, series.written_at, series.tries = event, count, now, 0
        series.due_at = self._next_at(series, now) if series.count > count else None

    def failed(self, series: Series, now: float) -> bool:
        """Take in that the server could not be asked; tell whether to try again, or the series is given up."""
        series.tries += 1
        series.due_at = now + RETRY_SECONDS
        if series.tries >= MAX_TRIES:
            self.drop(series)
            return False
        return True

    def drop(self, series: Series) -> None:
        """Forget a series."""
        self._series.pop(series.what, None)

    def _next_at(self, series: Series, now: float) -> float:
        return now if series.written <= 1 else max(now, series.written_at + REPEAT_SECONDS)

    def _forget_ended(self, now: float) -> None:
        ended = [each for each in self._series.values() if each.due_at is None and now - each.last_at > SERIES_SECONDS]
        for each in ended:
            self.drop(each)


class EventRecorder:
    """Writes what was recorded, one after the other, until cancelled."""

    def __init__(self, client: Client, clock: Clock, metrics: Metrics, loop: asyncio.AbstractEventLoop) -> None:
        self._client = client
        self._clock = clock
        self._dropped = metrics.events_dropped
        self._loop = loop
        self._series = EventLog()
        self._changed = asyncio.Event()
        self._refused: set[tuple[int, str]] = set()
        self._log = get_logger()

    def record(self, what: Occurrence) -> None:
        """Take in an event, from any thread."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._record(what)
        else:
            self._loop.call_soon_threadsafe(self._record, what)

    async def run(self) -> None:
        """Write events until cancelled. No answer of the server ends it."""
        while True:
            series, seconds = self._series.next(self._clock.monotonic())
            if series is not None:
                await self._write(series)
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def flush(self, seconds: float) -> None:
        """Write what is left, once `run` was cancelled; what takes longer is lost."""
        try:
            async with asyncio.timeout(seconds):
                for series in self._series.unwritten():
                    await self._write(series)
        except TimeoutError:
            self._dropped.inc(len(self._series.unwritten()))

    def _record(self, what: Occurrence) -> None:
        if not self._series.record(what, self._clock.monotonic(), self._clock.now()):
            self._dropped.inc()
        self._changed.set()

    async def _write(self, series: Series) -> None:
        count, now = series.count, self._clock.monotonic
        try:
            self._series.wrote(series, count, await self._send(series, count), now())
        except AlreadyExists:  # written before, and the answer was lost
            self._series.drop(series)
        # The last two: credentials that cannot be read anew just now, and an answer that is no event.
        except (ApiUnreachable, ServerError, TooManyRequests, SettingsError, DecodeError) as error:
            if not self._series.failed(series, now()):
                self._dropped.inc()
                self._log.warning("event given up", problem=str(error))
        except ApiError as error:
            self._series.drop(series)
            self._dropped.inc()
            if (error.status, error.reason) not in self._refused:
                self._refused.add((error.status, error.reason))
                advice = "; grant create and patch on events.events.k8s.io" if error.status == 403 else ""
                self._log.warning("event refused", problem=f"{error.message}{advice}")

    async def _send(self, series: Series, count: int) -> Event:
        repeats = EventSeries(count=count, last_observed_time=series.last) if count > 1 else None
        if series.event is not None:
            series.event.series = repeats
            try:
                return await self._client.patch(series.event)
            except NotFound:  # the server keeps events for an hour
                series.event = None
        event = _event(series)
        event.series = repeats
        return await self._client.create(event)


class Events:
    """Records events in the name of one controller. From any thread; returns at once, and does not raise."""

    def __init__(self, recorder: EventRecorder, controller: str) -> None:
        self._recorder = recorder
        # A qualified name is what the API server wants; a controller's name may be anything.
        self._controller = re.sub(r"[^A-Za-z0-9_.-]+", "-", controller).strip("-_.")[:63].rstrip("-_.") or "neptune"

    def normal(self, obj: Resource, reason: str, message: str | Exception, *, action: str = "Reconcile") -> None:
        """Tell people that something went as it should.

        Args:
            obj: what it is about.
            reason: why, as one CamelCase word that programs may rely on, such as `Counted`.
            message: what happened, for a person, or the exception that says it; cut to 1024 bytes. Keep what varies out
                of it: each text is an event.
            action: what was being done, as one CamelCase word.
        """
        self._record("Normal", obj, reason, message, action)

    def warning(self, obj: Resource, reason: str, message: str | Exception, *, action: str = "Reconcile") -> None:
        """Tell people that something needs them; otherwise as `normal`."""
        self._record("Warning", obj, reason, message, action)

    def _record(self, kind: EventType, obj: Resource, reason: str, message: str | Exception, action: str) -> None:
        metadata = obj.metadata
        what = Occurrence(
            type=kind,
            reason=reason[:MAX_WORD_LENGTH],
            note=(message if isinstance(message, str) else text(message))
            .encode(errors="replace")[:MAX_NOTE_BYTES]
            .decode(errors="ignore"),
            action=action[:MAX_WORD_LENGTH],
            controller=self._controller,
            api_version=obj.api_version,
            kind=obj.kind,
            namespace=metadata.namespace,
            name=metadata.name,
            uid=metadata.uid,
        )
        self._recorder.record(what)


class Complaints:
    """Makes objects that do not fit their type known: to people who describe them, and to Prometheus."""

    def __init__(self, events: Events, metrics: Metrics) -> None:
        self._events = events
        self._metrics = metrics

    def __call__(self, item: Snapshot[Any], error: DecodeError) -> None:
        metadata = ObjectMeta(namespace=item.key.namespace, name=item.key.name, uid=item.uid)
        self._metrics.undecodable.labels(describe(item.cls)).inc()
        self._events.warning(
            PartialObjectMetadata.of(item.cls)(metadata=metadata), "Undecodable", str(error), action="Decode"
        )


def _event(series: Series) -> Event:
    what = series.what
    return Event(
        # The event of a cluster-scoped object lives in `default`.
        metadata=ObjectMeta(namespace=what.namespace or "default", name=f"{what.name[:230]}.{os.urandom(8).hex()}"),
        event_time=series.first,
        reporting_controller=what.controller,
        reporting_instance=f"{what.controller}-{socket.gethostname()}"[:MAX_WORD_LENGTH],
        action=what.action,
        reason=what.reason,
        regarding=ObjectReference(
            api_version=what.api_version, kind=what.kind, namespace=what.namespace, name=what.name, uid=what.uid
        ),
        note=what.note,
        type=what.type,
    )


def _time(entry: tuple[float, Any]) -> float:
    return entry[0]
