"""What a Dataset's status should say: pure functions of the object, the node's presence and the node's report.

Invariant: the same facts give the same status, so that writing it twice writes it once. Each function changes the
object that it is given; `client.status.patch` then sends what changed, if anything did.
"""

from __future__ import annotations

from datetime import datetime

from pydantic import TypeAdapter

from neptune.api import Condition, ConditionType, Dataset, Reason, Time, get_condition, set_condition
from neptune.protocol.codec import BATCH_BYTES
from neptune.protocol.digest import READY
from neptune.protocol.messages import ConditionReport, StatusReport
from neptune.protocol.presence import NodeState

_time: TypeAdapter[datetime] = TypeAdapter(Time)


def show_no_node(dataset: Dataset, now: datetime) -> None:
    """The spec names no node, so nobody counts, and what an earlier node said no longer holds."""
    why = "spec.nodeName is empty: set it to the node that owns the data"
    _set(dataset, ConditionType.READY, "Unknown", Reason.NO_NODE, why, now)
    _set(dataset, ConditionType.SYNCED, "False", Reason.NO_NODE, why, now)
    _set(dataset, ConditionType.NODE_ONLINE, "Unknown", Reason.NO_NODE, why, now)


def show_too_large(dataset: Dataset, now: datetime) -> None:
    """No message can carry the spec, so the node never gets it (413); what it counted before no longer holds."""
    why = f"the spec takes more than {BATCH_BYTES // 1024} KiB as JSON, and no more can be sent to a node: shorten it"
    _set(dataset, ConditionType.READY, "False", Reason.TOO_LARGE, why, now)
    _set(dataset, ConditionType.SYNCED, "False", Reason.TOO_LARGE, why, now)


def show_waiting(dataset: Dataset, state: NodeState | None, now: datetime, unheard: str = "") -> None:
    """The node has not answered for this generation yet. `state` is None while nothing can be known of nodes.

    `unheard` is the topic on which it was told again and again, where that is so.
    """
    node = dataset.spec.node_name
    why = {
        None: "cloud-controller is not connected to its MQTT broker; its log says why",
        NodeState.NEVER_SEEN: f"node {node} has not connected: run edge-agent --node {node} with the same broker",
        NodeState.OFFLINE: f"node {node} is offline; it counts when it is back",
        NodeState.ONLINE: f"node {node} is online and has not answered yet"
        + (f": see its log, and whether the broker lets it read {unheard}" if unheard else ""),
    }[state]
    _set(dataset, ConditionType.READY, "Unknown", Reason.WAITING_FOR_NODE, why, now)
    _set(dataset, ConditionType.SYNCED, "False", Reason.WAITING_FOR_NODE, why, now)
    if state is None:
        _set(dataset, ConditionType.NODE_ONLINE, "Unknown", Reason.WAITING_FOR_NODE, why, now)
    elif state is NodeState.ONLINE:
        _show_online(dataset, now)
    else:
        reason = Reason.NODE_NEVER_SEEN if state is NodeState.NEVER_SEEN else Reason.NODE_OFFLINE
        _set(dataset, ConditionType.NODE_ONLINE, "False", reason, why, now)


def show_node_offline(dataset: Dataset, now: datetime) -> None:
    """The node is away: the number is the last one known, and nobody vouches for it."""
    why = f"node {dataset.spec.node_name} is offline; the number is the last one that it reported"
    _set(dataset, ConditionType.READY, "Unknown", Reason.NODE_OFFLINE, why, now)
    _set(dataset, ConditionType.NODE_ONLINE, "False", Reason.NODE_OFFLINE, why, now)


def show_report(dataset: Dataset, report: StatusReport, update_time: datetime | None, now: datetime) -> None:
    """The node reported for this generation."""
    status = dataset.status
    content = report.number_of_samples, report.fingerprint
    if content != (status.number_of_samples, status.fingerprint):
        status.number_of_samples, status.fingerprint = content
        status.revision = (status.revision or 0) + 1
    status.update_time = update_time
    status.observed_generation = report.observed_generation
    for item in report.conditions:
        if item.type == ConditionType.READY:
            _set(dataset, ConditionType.READY, item.status, item.reason, item.message, now)
    why = f"node {dataset.spec.node_name} has this generation"
    _set(dataset, ConditionType.SYNCED, "True", Reason.STORED, why, now)
    _show_online(dataset, now)


def as_reported(dataset: Dataset) -> StatusReport | None:
    """Return the report that the status was written from, as far as the status keeps it; None before the first.

    The inverse of `show_report`: what comes out is what the node's digests are compared with.
    """
    status = dataset.status
    if status.observed_generation is None:
        return None
    ready = get_condition(status.conditions, ConditionType.READY)
    conditions = () if ready is None else (ConditionReport(READY, ready.status, ready.reason, ready.message),)
    time = None if status.update_time is None else _time.dump_python(status.update_time, mode="json")
    return StatusReport(
        dataset.metadata.uid,
        0,
        status.observed_generation,
        status.number_of_samples,
        time,
        conditions,
        status.fingerprint,
    )


def _show_online(dataset: Dataset, now: datetime) -> None:
    why = f"node {dataset.spec.node_name} is connected"
    _set(dataset, ConditionType.NODE_ONLINE, "True", Reason.NODE_ONLINE, why, now)


def _set(dataset: Dataset, type_: ConditionType, status: str, reason: str, message: str, now: datetime) -> None:
    condition = Condition.model_validate(
        {
            "type": type_.value,
            "status": status,
            "reason": str(reason),
            "message": message,
            "observedGeneration": dataset.metadata.generation,
            "lastTransitionTime": now,
        }
    )
    set_condition(dataset.status.conditions, condition)
