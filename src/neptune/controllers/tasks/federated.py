"""What the status of a FederatedTask becomes: the first kind of task, and the model of any other.

    Pending ── a worker runs ──> Running ── every share is complete ──> Completed
       └────────────────────────────┴────── one failed, or too late ──> Failed

Invariant: nothing leads out of Completed and Failed but a new generation, which starts from nothing.
Neighbours: `kind` is the protocol; `shares` are the rows, `metrics` the mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from neptune.api import (
    Condition,
    FederatedTask,
    FederatedTaskStatus,
    Share,
    TaskConditionType,
    TaskReason,
    get_condition,
    set_condition,
)
from neptune.controllers.tasks.kind import AGGREGATOR, PARTICIPANT, Note, Plan, View
from neptune.controllers.tasks.metrics import weighted_mean
from neptune.controllers.tasks.shares import reports_of, share_of
from neptune.protocol.messages import WorkReport
from neptune.protocol.presence import NodeState
from neptune.protocol.work import COMPLETED, FAILED, PENDING, RUNNING, TERMINAL

#: Names that a message spells out; a person reads no more, and an event takes 1024 bytes.
_NAMED = 10
#: Characters of `status.message`; ten workers may have said more.
_MAX_MESSAGE = 4096


class FederatedTasks:
    """The kind `FederatedTask`, for `CloudController(task_kinds=...)`."""

    cls = FederatedTask

    def plan(self, task: FederatedTask) -> Plan | None:
        """Return what the task asks for; None when it is Completed or Failed."""
        spec, status = task.spec, task.status
        is_current = _is_current(task)
        if is_current and status.phase in TERMINAL:
            return None
        work: dict[str, object] = {"parameters": dict(sorted(spec.parameters.items()))}
        if spec.deadline_seconds is not None:
            work["deadlineSeconds"] = spec.deadline_seconds
        return Plan(
            tuple(participant.dataset for participant in spec.participants),
            (spec.model.name,),
            (spec.aggregator.node_name,) if spec.aggregator else (),
            work,
            has_begun=is_current and status.start_time is not None,
            deadline=_deadline(task) if is_current else None,
        )

    def reported(self, task: FederatedTask) -> Mapping[str, WorkReport]:
        """Return the reports that the rows are from."""
        return reports_of(_shares(task.status)) if _is_current(task) else {}

    def show(self, task: FederatedTask, view: View, now: datetime) -> Sequence[Note]:
        """Set the status to what is known now."""
        if not _is_current(task):
            lasting = (TaskConditionType.SCHEDULED, TaskConditionType.NODES_ONLINE)
            kept = [each for each in task.status.conditions if each.type in lasting]
            task.status = FederatedTaskStatus(
                observed_generation=task.metadata.generation, conditions=kept, phase="Pending"
            )
        notes = [
            *_show_scheduled(task, view, now),
            *_show_nodes(task, view, now),
            *_show_shares(task, view),
        ]
        return [*notes, *_show_phase(task, view, now)]

    def outcome(self, task: FederatedTask) -> Mapping[str, Mapping[str, str]]:
        """Return the aggregator's metrics where there is one, else the mean of the participants'."""
        return {task.spec.model.name: _metrics(task.status)} if task.status.phase == COMPLETED else {}


def _metrics(status: FederatedTaskStatus) -> dict[str, str]:
    if status.aggregator is not None:
        return status.aggregator.metrics
    return weighted_mean((row.samples, row.metrics) for row in status.participants)


def _is_current(task: FederatedTask) -> bool:
    return task.status.observed_generation == task.metadata.generation


def _deadline(task: FederatedTask) -> datetime | None:
    start, seconds = task.status.start_time, task.spec.deadline_seconds
    return None if start is None or seconds is None else start + timedelta(seconds=seconds)


def _shares(status: FederatedTaskStatus) -> list[Share]:
    return [*status.participants, *([status.aggregator] if status.aggregator else [])]


def _show_scheduled(task: FederatedTask, view: View, now: datetime) -> list[Note]:
    lacks = _lacks(task, view)
    is_new = lacks is None and task.status.start_time is None
    if is_new:
        task.status.start_time = now
    reason, message = lacks or (TaskReason.SCHEDULED, f"sent to {_named([part.node for part in view.parts])}")
    changed = _set(task, TaskConditionType.SCHEDULED, "False" if lacks else "True", reason, message, now)
    return [Note(reason, message, is_warning=lacks is not None)] if changed or is_new else []


def _lacks(task: FederatedTask, view: View) -> tuple[TaskReason, str] | None:
    """Return what keeps the work from its nodes, with what to do about it."""
    namespace = task.metadata.namespace
    if view.missing_models:
        why = f"no Model {_named(view.missing_models)} in namespace {namespace}: create it, or name another one"
        return TaskReason.MODEL_MISSING, why
    if view.missing_datasets:
        why = f"no Dataset {_named(view.missing_datasets)} in namespace {namespace}: create it, or name another one"
        return TaskReason.DATASET_MISSING, why
    if view.homeless_datasets:
        why = (
            f"spec.nodeName of Dataset {_named(view.homeless_datasets)} is empty: set it to the node that has the data"
        )
        return TaskReason.DATASET_WITHOUT_NODE, why
    if view.too_large:
        return (
            TaskReason.TOO_LARGE,
            "the work is more than 64 KiB of JSON for a node, the most that is sent: shorten it",
        )
    return None


def _show_nodes(task: FederatedTask, view: View, now: datetime) -> list[Note]:
    working = [part for part in view.parts if part.report is None or part.report.state not in TERMINAL]
    away = {
        NodeState.NEVER_SEEN: [part.node for part in working if part.presence is NodeState.NEVER_SEEN],
        NodeState.OFFLINE: [part.node for part in working if part.presence is NodeState.OFFLINE],
    }
    type_ = TaskConditionType.NODES_ONLINE
    if nodes := away[NodeState.NEVER_SEEN]:
        message = f"node {_named(nodes)} has not connected: run edge-agent --node {nodes[0]} with the same broker"
        status, reason = "False", TaskReason.NODE_NEVER_SEEN
    elif nodes := away[NodeState.OFFLINE]:
        message = f"node {_named(nodes)} is offline; the work goes on when it is back"
        status, reason = "False", TaskReason.NODE_OFFLINE
    elif any(part.presence is None for part in working):
        if get_condition(task.status.conditions, type_) is not None:
            return []
        message = "cloud-controller is not connected to its MQTT broker; its log says why"
        status, reason = "Unknown", TaskReason.BROKER_UNREACHABLE
    else:
        status, reason, message = "True", TaskReason.NODES_ONLINE, "every node that still has to work is connected"
    before = get_condition(task.status.conditions, type_)
    was_away = before is not None and before.status == "False"
    changed = _set(task, type_, status, reason, message, now)
    if not changed or (status != "False" and not was_away):
        return []
    return [Note(reason, message, is_warning=status == "False")]


def _show_shares(task: FederatedTask, view: View) -> list[Note]:
    status = task.status
    before = {(role, row.node): row.state for role, row in _by_role(status)}
    status.participants = [share_of(part) for part in view.parts if PARTICIPANT in part.roles]
    aggregators = [replace(part, datasets=(), samples=None) for part in view.parts if AGGREGATOR in part.roles]
    status.aggregator = share_of(aggregators[0]) if aggregators else None
    notes = []
    for role, row in _by_role(status):
        if row.state in TERMINAL and before.get((role, row.node)) != row.state:
            said = row.message if row.state == FAILED else _measured(row.metrics) or row.message
            notes.append(
                Note(
                    f"{role.capitalize()}{row.state}",
                    f"{row.node}: {said or row.state}",
                    is_warning=row.state == FAILED,
                )
            )
    return notes


def _by_role(status: FederatedTaskStatus) -> list[tuple[str, Share]]:
    aggregator = [(AGGREGATOR, status.aggregator)] if status.aggregator else []
    return [*((PARTICIPANT, row) for row in status.participants), *aggregator]


def _show_phase(task: FederatedTask, view: View, now: datetime) -> list[Note]:
    status = task.status
    rows = [*{row.node: row for row in _shares(status)}.values()]  # who has both roles has one worker
    complete = sum(row.state == COMPLETED for row in rows)
    status.completions = f"{complete}/{len(rows)}"
    percent = sum(100 if row.state == COMPLETED else row.progress or 0 for row in rows) // max(len(rows), 1)
    status.progress = f"{percent}%"
    if rows and complete == len(rows) and not view.lacks_parts:
        status.phase = "Completed"
        why = _measured(_metrics(status)) or "no metrics were reported"
        return _end(task, TaskConditionType.COMPLETE, TaskReason.COMPLETED, why, now)
    if (failure := _failure(task, view, now)) is not None:
        status.phase = "Failed"
        return _end(task, TaskConditionType.FAILED, *failure, now)
    was_running = status.phase == RUNNING
    running = [row.node for row in rows if row.state != PENDING]
    status.phase = "Running" if running else "Pending"
    status.reason, status.message = _standing(task, rows)
    return [Note("Started", f"a worker runs on {_named(running)}")] if running and not was_running else []


def _failure(task: FederatedTask, view: View, now: datetime) -> tuple[TaskReason, str] | None:
    for part in view.parts:
        if part.report is not None and part.report.state == FAILED:
            reason = TaskReason.PARTICIPANT_FAILED if PARTICIPANT in part.roles else TaskReason.AGGREGATOR_FAILED
            return reason, f"{part.node}: {part.report.message or 'the worker gave no reason'}"
    deadline = _deadline(task)
    if deadline is not None and now >= deadline:
        done, seconds = task.status.completions, task.spec.deadline_seconds
        return TaskReason.DEADLINE_EXCEEDED, f"{done} shares were complete {seconds} s after the start"
    return None


def _end(task: FederatedTask, type_: TaskConditionType, reason: TaskReason, why: str, now: datetime) -> list[Note]:
    status = task.status
    status.completion_time = now
    status.reason, status.message = reason, why
    _set(task, type_, "True", reason, why, now)
    if type_ is TaskConditionType.COMPLETE or reason is TaskReason.DEADLINE_EXCEEDED:
        return [Note(reason, why, is_warning=type_ is TaskConditionType.FAILED)]
    return [Note("Failed", why, is_warning=True)]  # the share has an event that says whose it was


def _standing(task: FederatedTask, rows: list[Share]) -> tuple[str, str]:
    """Return why the work is not over, in the order of what a person has to do something about."""
    for type_ in (TaskConditionType.SCHEDULED, TaskConditionType.NODES_ONLINE):
        condition = get_condition(task.status.conditions, type_)
        if condition is not None and condition.status != "True":
            return condition.reason, condition.message
    if silent := [row.node for row in rows if row.report_id is None]:
        return TaskReason.WAITING_FOR_NODES, f"node {_named(silent)} has not answered yet"
    if pending := [row for row in rows if row.state == PENDING]:
        return TaskReason.WAITING_FOR_WORKERS, f"{pending[0].node}: {pending[0].message or 'no worker runs yet'}"
    said = [f"{row.node}: {row.message}" for row in rows if row.message and row.state != COMPLETED][:_NAMED]
    message = "; ".join(said) or f"{task.status.completions} shares are complete"
    return TaskReason.RUNNING, message[:_MAX_MESSAGE]


def _measured(metrics: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(metrics.items()))[:1000]


def _named(names: Sequence[str]) -> str:
    names = [*dict.fromkeys(names)]
    further = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + further


def _set(
    task: FederatedTask, type_: TaskConditionType, status: str, reason: TaskReason, message: str, now: datetime
) -> bool:
    """Set a condition, and tell whether its status or reason changed: that is worth an event."""
    conditions = task.status.conditions
    before = get_condition(conditions, type_)
    condition = Condition.model_validate(
        {
            "type": type_.value,
            "status": status,
            "reason": str(reason),
            "message": message,
            "observedGeneration": task.metadata.generation,
            "lastTransitionTime": now,
        }
    )
    set_condition(conditions, condition)
    return before is None or (before.status, before.reason) != (condition.status, condition.reason)
