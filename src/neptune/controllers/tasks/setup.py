"""Puts the parts for all kinds of tasks together: one placement, and a reconciler a kind.

    cache ──> placement ──> inventory, link ──> nodes
    nodes ──> link ──> `take` ──> inbox ──> reconciler ──> API server

Neighbours: `controllers.app` makes one and gives it what the link hears.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from neptune.api import Dataset, Model
from neptune.clock import Clock
from neptune.controllers.link import Link
from neptune.controllers.reports import Report, settle
from neptune.controllers.tasks.inbox import Inbox
from neptune.controllers.tasks.kind import TaskKind, TaskRef
from neptune.controllers.tasks.placement import Placed, Placement
from neptune.controllers.tasks.reconciler import TaskReconciler, objection, too_late
from neptune.protocol import messages
from neptune.protocol.cloud import Reported
from neptune.protocol.messages import DesiredObject
from neptune.protocol.work import check
from neptune.runtime import Change, Informer, Keys, Manager, Query


class Tasks:
    """The tasks of all kinds of one controller.

    Raises:
        ValueError: two of the kinds have one Kind, or one has that of a Dataset or Model: nodes could not tell them
            apart.
    """

    def __init__(
        self, kinds: Iterable[TaskKind[Any]], manager: Manager, link: Link, clock: Clock, namespace: str = ""
    ) -> None:
        self._link = link
        self._placement = Placement(manager.cache, link.core.inventory, self._push, self._look)
        self._reconcilers: dict[str, TaskReconciler] = {}
        self._keys: dict[str, Keys] = {}
        for kind in kinds:
            name = kind.cls.resource.kind
            if name in {*self._reconcilers, Dataset.resource.kind, Model.resource.kind}:
                raise ValueError(f"there is a kind {name} already: tasks are told apart by it, so rename this one's")
            self._reconcilers[name] = TaskReconciler(kind, self._placement, link, clock)
            self._keys[name] = Keys()
        if self._reconcilers:
            self._follow(manager, namespace)

    def control(self, manager: Manager, namespace: str, workers: int) -> None:
        """Add a controller for each kind."""
        for name, reconciler in self._reconcilers.items():
            cls = reconciler.kind.cls
            manager.controller(
                Query(cls, namespace),
                reconciler.reconcile,
                name=cls.resource.plural,
                workers=workers,
                sources=[reconciler.inbox, self._keys[name]],
            )
        if self._reconcilers:
            # The kinds' controllers read models and write their status; `neptune rbac` derives the rights from this.
            manager.uses.append(("reconciles", Query(Model, namespace)))

    def object(self, node: str, uid: str) -> DesiredObject | None:
        """Return what a node should have of a task or model; None for anything else."""
        return self._placement.object(node, uid)

    def has(self, uid: str) -> bool:
        """Tell whether that is the uid of a task which is not over."""
        return self._placement.of(uid) is not None

    def take(self, reported: Reported) -> None:
        """Sort the reports of one message: to their task, or straight back with a verdict."""
        for item in reported.reports:
            report = Report(reported.node, reported.epoch, item)
            placed = self._placement.of(item.uid)
            if placed is None:
                settle(self._link, report, messages.NOT_FOUND, "no task has this uid, or it is over")
                continue
            inbox = self._reconcilers[placed.ref.kind].inbox
            code, reason = self._objection(inbox, placed, report)
            if code == messages.OK:
                inbox.put(placed.ref.key, report)
            else:
                settle(self._link, report, code, reason)

    def _objection(self, inbox: Inbox, placed: Placed, report: Report) -> tuple[int, str]:
        code, reason = objection(placed, report)
        if code == messages.OK:
            code, reason = _fault(report)
        before = inbox.of(placed.ref.key, report.node)
        # One that was overtaken says nothing about what came after it.
        if code == messages.OK and before and before.is_older(report) and before.status.work:
            code, reason = too_late(before.status.work, report)
        return code, reason

    def on_presence(self, node: str) -> None:
        """A node came or went: its tasks deserve a look."""
        for ref in self._placement.on(node):
            self._look(ref)

    def _look(self, ref: TaskRef) -> None:
        self._keys[ref.kind].name([ref.key])

    def _push(self, node: str, uid: str) -> None:
        # Before both hold nodes are told nothing; then all of them ask.
        if self._link.core.is_ready and self._link.is_connected:
            self._link.push(node, uid)

    def _follow(self, manager: Manager, namespace: str) -> None:
        cache, placement = manager.cache, self._placement
        datasets, models = cache.watch(Dataset, namespace), cache.watch(Model, namespace)
        datasets.subscribe(lambda change: placement.dataset_changed(change.key, _now(datasets, change)))
        models.subscribe(lambda change: placement.model_changed(change.key, _now(models, change)))
        cache.optional(Model)
        for reconciler in self._reconcilers.values():
            cache.optional(reconciler.kind.cls)
            self._follow_kind(cache.watch(reconciler.kind.cls, namespace), reconciler.kind)

    def _follow_kind(self, informer: Informer[Any], kind: TaskKind[Any]) -> None:
        informer.subscribe(lambda change: self._placement.task_changed(kind, change.key, _now(informer, change)))


def _now(informer: Informer[Any], change: Change[Any]) -> Any:
    """Return the object as it is since a change; None when it is gone, or no longer fits its type."""
    return informer.peek(change.new) if change.new else None


def _fault(report: Report) -> tuple[int, str]:
    """Return what is wrong with the report in itself, or OK."""
    if report.status.work is None:
        return messages.BAD_REQUEST, "a task is reported with `work`"
    try:
        check(report.status.work)
    except ValueError as error:
        return messages.BAD_REQUEST, str(error)
    return messages.OK, ""
