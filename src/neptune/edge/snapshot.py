"""What an agent is doing at a moment, for a person at the node: values only.

Neighbours: `agent` takes it; `neptune.cli.status` shows it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


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

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as JSON has them."""
        names = {"last_sync": "lastSync"}
        return {names.get(name, name): value for name, value in asdict(self).items()}
