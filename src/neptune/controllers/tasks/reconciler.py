"""Brings the status of a task in step with its nodes: reports, presence, deadline; and the Model when it completes.

Level-based: a pass takes the task, where it is placed, who is there and what was reported, has the kind say what the
status is, and writes that. Invariants: a verdict goes back only after the API server has taken the write, or for good
refused it; a Model is written before the task is shown as complete, so that a crash between the two is made good by
the same reports. Neighbours: `placement` has pushed already; `inbox` holds the reports; `link` sends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neptune.api import Model, Resource, ResourceKey
from neptune.clock import Clock
from neptune.controllers import patience
from neptune.controllers.link import Link
from neptune.controllers.reports import Report, settle
from neptune.controllers.tasks.inbox import Inbox
from neptune.controllers.tasks.kind import Note, Part, TaskKind, View
from neptune.controllers.tasks.metrics import show_metrics
from neptune.controllers.tasks.placement import Placed, Placement, Seat
from neptune.protocol import messages
from neptune.protocol.backoff import Pace
from neptune.protocol.messages import WorkReport
from neptune.protocol.presence import NodeState
from neptune.protocol.work import TERMINAL
from neptune.runtime import Context, Invalid, NotFound, RequeueAfter


@dataclass(slots=True)
class _Sent:
    """What a node should have, and whether it has said so. Lost with the process: a new cloud makes nodes ask."""

    version: tuple[int, str]
    next_at: float
    times: int = 1
    is_answered: bool = False


@dataclass(slots=True)
class _Said:
    """What was last written of a task. Another controller may see its nodes otherwise, and undo it for ever."""

    version: str = ""
    pace: Pace = field(default_factory=patience.says)

    def is_undone(self, task: Resource) -> bool:
        """Tell whether somebody else has written since."""
        return self.version not in ("", task.metadata.resource_version)


class TaskReconciler:
    """The reconciler of one kind. One instance serves all workers: a key is never with two of them."""

    def __init__(self, kind: TaskKind[Any], placement: Placement, link: Link, clock: Clock) -> None:
        self.inbox = Inbox()
        self.kind = kind
        self._placement = placement
        self._link = link
        self._clock = clock
        self._sent: dict[ResourceKey, dict[str, _Sent]] = {}
        self._said: dict[ResourceKey, _Said] = {}
        #: Tasks with a report that could not be written: theirs are written one by one, to find which it is.
        self._doubtful: set[ResourceKey] = set()

    async def reconcile(self, ctx: Context, key: ResourceKey) -> RequeueAfter | None:
        """Write what is known of a task, then tell the nodes."""
        task = ctx.cache.get(self.kind.cls, key)
        placed = self._placement.of(task.metadata.uid) if task is not None else None
        if task is None or placed is None:
            self._forget(key)
            return None
        reported = self.kind.reported(task)
        reports = [report for report in self._due(key) if self._is_usable(key, placed, reported, report)]
        view = self._view(placed, reported, reports)
        unsettled = self._link.unsettled_seconds
        if not reports and unsettled > 0 and any(part.presence is not NodeState.ONLINE for part in view.parts):
            # A connection that has just come up brings the births that the broker has kept in a moment.
            return RequeueAfter(unsettled)
        said = self._said.setdefault(key, _Said())
        if not reports and said.is_undone(task) and (left := said.pace.left(self._clock.monotonic())):
            return RequeueAfter(left)
        code = await self._write(ctx, task, view, reports)
        for report in reports if code else ():
            self._settle(key, report, code, "" if code == messages.OK else "the task is gone")
        if self.inbox.held(key):
            return RequeueAfter(0.0)
        answered = {report.node for report in reports}
        return self._next(key, task, placed, view, answered)

    # Reports

    def _due(self, key: ResourceKey) -> list[Report]:
        held = self.inbox.held(key)
        if not held:
            self._doubtful.discard(key)
        return held[:1] if key in self._doubtful else held

    def _is_usable(self, key: ResourceKey, placed: Placed, reported: Mapping[str, WorkReport], report: Report) -> bool:
        code, reason = objection(placed, report)
        if code == messages.OK and (before := reported.get(report.node)):
            code, reason = too_late(before, report)
        if code != messages.OK:
            self._settle(key, report, code, reason)
        return code == messages.OK

    def _settle(self, key: ResourceKey, report: Report, code: int, reason: str = "") -> None:
        self.inbox.discard(key, report)
        settle(self._link, report, code, reason)

    def _forget(self, key: ResourceKey) -> None:
        for report in self.inbox.held(key):
            self._settle(key, report, messages.NOT_FOUND, "the task is over, or gone")
        self.inbox.forget(key)
        self._sent.pop(key, None)
        self._said.pop(key, None)
        self._doubtful.discard(key)

    # What is known

    def _view(self, placed: Placed, reported: Mapping[str, WorkReport], reports: Iterable[Report]) -> View:
        newest = {**reported, **{report.node: report.status.work for report in reports if report.status.work}}
        return View(
            tuple(self._part(placed, seat, newest.get(seat.node)) for seat in placed.seats),
            placed.missing_models,
            placed.missing_datasets,
            placed.homeless_datasets,
            placed.too_large,
        )

    def _part(self, placed: Placed, seat: Seat, report: WorkReport | None) -> Part:
        presence = self._link.state(seat.node)
        if presence is NodeState.NEVER_SEEN and report is not None and self._link.young_seconds > 0:
            # The node was there, this process is young: it gets the time that a flapping one has to show itself.
            presence = None
        samples = self._placement.samples(placed, seat)
        return Part(seat.node, seat.roles, seat.datasets, samples, presence, report)

    # Writing

    async def _write(self, ctx: Context, task: Resource, view: View, reports: Sequence[Report]) -> int:
        """Write the models' metrics, then the status; return the verdict on the reports, 0 while it is open."""
        try:
            notes = [*self.kind.show(task, view, self._clock.now())]
            notes += await self._write_models(ctx, task)
            self._note_write(task, await ctx.client.status.patch(task))
        except NotFound:
            return messages.NOT_FOUND
        except (ValueError, OverflowError, Invalid) as error:
            if not reports:
                raise
            self._doubt(task.key, reports, str(error))
            return 0
        for note in notes:
            record = ctx.events.warning if note.is_warning else ctx.events.normal
            record(task, note.reason, note.message)
        return messages.OK

    def _note_write(self, before: Resource, after: Resource) -> None:
        if after is not before:
            said = self._said[before.key]
            if said.is_undone(before):
                said.pace.done(self._clock.monotonic())
            said.version = after.metadata.resource_version

    def _doubt(self, key: ResourceKey, reports: Sequence[Report], why: str) -> None:
        if len(reports) == 1:
            self._settle(key, reports[0], messages.BAD_REQUEST, why)
        else:
            self._doubtful.add(key)

    async def _write_models(self, ctx: Context, task: Resource) -> list[Note]:
        notes = []
        for name, metrics in self.kind.outcome(task).items():
            model = ctx.cache.get(Model, ResourceKey(task.metadata.namespace, name))
            if model is not None:
                show_metrics(model, metrics, task, self._clock.now())
                try:
                    await ctx.client.status.patch(model)
                    continue
                except NotFound:
                    pass
            notes.append(Note("ModelMissing", f"Model {name} is gone, and its metrics with it", is_warning=True))
        return notes

    # What comes next

    def _next(
        self, key: ResourceKey, task: Resource, placed: Placed, view: View, answered: set[str]
    ) -> RequeueAfter | None:
        plan = self.kind.plan(task)
        if plan is None:
            return None
        now = self._clock.monotonic()
        waits = [] if plan.deadline is None else [max(0.0, (plan.deadline - self._clock.now()).total_seconds())]
        sent = self._sent.setdefault(key, {})
        for node in sent.keys() - placed.orders.keys():
            del sent[node]
        for part in view.parts:
            if part.presence is None:
                waits.append(patience.BLIND_SECONDS)
            if part.node in placed.orders:
                note = self._note(placed, part, sent, now)
                note.is_answered = note.is_answered or part.node in answered
                waits += self._push_again(placed, part, note, now)
        return RequeueAfter(min(waits)) if waits else None

    def _note(self, placed: Placed, part: Part, sent: dict[str, _Sent], now: float) -> _Sent:
        """Return the note on what a node should have; a new one when that has changed, which was pushed at once."""
        version = (placed.generation, placed.orders[part.node].hash)
        note = sent.get(part.node)
        if note is None or note.version != version:
            is_answered = note is None and part.report is not None  # to an earlier process
            note = sent[part.node] = _Sent(version, now + patience.repush_pause(0), is_answered=is_answered)
        return note

    def _push_again(self, placed: Placed, part: Part, note: _Sent, now: float) -> list[float]:
        """Push what its node has not answered, when it is time; return the seconds until the next time, if any."""
        if note.is_answered or part.presence is not NodeState.ONLINE:
            return []  # a node that is away asks for everything when it comes back
        if note.next_at <= now:
            for uid in (placed.uid, *self._placement.model_uids(placed)):
                self._link.push(part.node, uid)
            note.next_at = now + patience.repush_pause(note.times)
            note.times += 1
        return [note.next_at - now]


def objection(placed: Placed, report: Report) -> tuple[int, str]:
    """Return why a report cannot be of a task, or OK."""
    if report.node not in placed.items:
        return messages.FORBIDDEN, f"node {report.node} takes no part in {placed.ref.kind} {placed.ref.key}"
    if report.status.uid != placed.uid:
        return messages.NOT_FOUND, "the task is another one by now"
    if report.status.observed_generation != placed.generation:
        return messages.CONFLICT, f"{placed.ref.kind} {placed.ref.key} is at generation {placed.generation}"
    return messages.OK, ""


def too_late(before: WorkReport, report: Report) -> tuple[int, str]:
    """Return why a report cannot follow that one of its node and generation, or OK: the end is the end."""
    work = report.status.work
    if work is not None and before.state in TERMINAL and work.id != before.id:
        return messages.BAD_REQUEST, f"the share was {before.state} already, by report {before.id}"
    return messages.OK, ""
