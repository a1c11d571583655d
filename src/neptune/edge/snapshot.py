"""What an agent is doing at a moment, for a person at the node: values only.

Neighbours: `agent` takes it; `neptune.cli.status` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from neptune.edge.problems import shown
from neptune.edge.results import READY
from neptune.protocol.messages import DesiredObject, StatusReport
from neptune.protocol.work import PENDING, is_task


@dataclass(frozen=True, slots=True)
class DatasetSnapshot:
    """One dataset. `samples` is None while no number is known; `ready` is True, False or Unknown, as in Kubernetes."""

    namespace: str
    name: str
    url: str
    format: str
    samples: int | None
    ready: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class TaskSnapshot:
    """One task. `state` is that of `WorkReport`; `progress` is in percent, None where nobody knows."""

    kind: str
    namespace: str
    name: str
    state: str
    progress: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An agent.

    `reason` says why it is not connected. `last_sync` is when the cloud last told it everything (RFC 3339, UTC), None
    when it has not since the agent started. `outbox` counts the statuses that the cloud has not confirmed, `queue` the
    messages that wait for the broker.
    """

    node: str
    connected: bool
    reason: str | None
    last_sync: str | None
    outbox: int
    queue: int
    datasets: tuple[DatasetSnapshot, ...]
    tasks: tuple[TaskSnapshot, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as JSON has them."""
        names = {"last_sync": "lastSync"}
        return {names.get(name, name): value for name, value in asdict(self).items()}


class Snapshots(TypedDict):
    """The objects of a node in a `Snapshot`."""

    datasets: tuple[DatasetSnapshot, ...]
    tasks: tuple[TaskSnapshot, ...]


def snapshots_of(items: Iterable[DesiredObject], latest: Callable[[str], StatusReport | None]) -> Snapshots:
    """Return what is known of each object; `latest` has the newest status by uid."""
    datasets, tasks = [], []
    for item in items:
        if item.kind == "Dataset":
            datasets.append(_dataset(item, latest(item.uid)))
        elif is_task(item.kind):
            tasks.append(_task(item, latest(item.uid)))
    return {"datasets": tuple(datasets), "tasks": tuple(tasks)}


def _dataset(item: DesiredObject, report: StatusReport | None) -> DatasetSnapshot:
    ready = next((each for each in report.conditions if each.type == READY), None) if report else None
    url, format_ = (shown(str(item.spec.get(key, ""))) for key in ("url", "format"))
    samples = report.number_of_samples if report else None
    if ready is None:
        return DatasetSnapshot(item.namespace, item.name, url, format_, samples, "Unknown", "Counting", "not looked at")
    return DatasetSnapshot(item.namespace, item.name, url, format_, samples, ready.status, ready.reason, ready.message)


def _task(item: DesiredObject, report: StatusReport | None) -> TaskSnapshot:
    work = report.work if report else None
    if work is None:
        return TaskSnapshot(item.kind, item.namespace, item.name, PENDING, None, "not looked at")
    return TaskSnapshot(item.kind, item.namespace, item.name, work.state, work.progress, shown(work.message))
