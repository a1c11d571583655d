"""What a Dataset's status should say: pure functions of the object, the node's presence and the node's report.

Invariant: the same facts give the same status, so that writing it twice writes it once. Each function changes the
object that it is given; `client.status.patch` then sends what changed, if anything did.
"""

from __future__ import annotations

from datetime import datetime

from neptune.api import Condition, ConditionType, Dataset, Reason, set_condition
from neptune.protocol.messages import StatusReport
from neptune.protocol.presence import NodeState


def show_no_node(dataset: Dataset, now: datetime) -> None:
    """The spec names no node, so nobody counts, and what an earlier node said no longer holds."""
    why = "spec.nodeName is empty: set it to the node that owns the data"
    _set(dataset, ConditionType.READY, "Unknown", Reason.NO_NODE, why, now)
    _set(dataset, ConditionType.SYNCED, "False", Reason.NO_NODE, why, now)
    _set(dataset, ConditionType.NODE_ONLINE, "Unknown", Reason.NO_NODE, why, now)


def show_waiting(dataset: Dataset, state: NodeState | None, now: datetime) -> None:
    """The node has not answered for this generation yet. `state` is None while nothing can be known of nodes."""
    node = dataset.spec.node_name
    why = {
        None: "cloud-controller is not connected to its MQTT broker; its log says why",
        NodeState.NEVER_SEEN: f"node {node} has not connected: run edge-agent --node {node} with the same broker",
        NodeState.OFFLINE: f"node {node} is offline; it counts when it is back",
        NodeState.ONLINE: f"node {node} is online and has not answered yet",
    }[state]
    _set(dataset, ConditionType.READY, "Unknown", Reason.WAITING_FOR_NODE, why, now)
    _set(dataset, ConditionType.SYNCED, "False", Reason.WAITING_FOR_NODE, why, now)
    if state is None:
        _set(dataset, ConditionType.NODE_ONLINE, "Unknown", Reason.WAITING_FOR_NODE, why, now)
    elif state is NodeState.ONLINE:
        _show_online(dataset, now)
    else:
        _set(dataset, ConditionType.NODE_ONLINE, "False", Reason.NODE_OFFLINE, why, now)


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
