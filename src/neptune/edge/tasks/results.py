"""What is known of one task: the report that counts, and of which generation it is.

Neighbours: `ledger` makes them, `edge.store` keeps them as JSON, `agent` sends them as the protocol's `StatusReport`.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

from neptune.protocol.messages import StatusReport, WorkReport
from neptune.protocol.work import FAILED, MAX_MESSAGE, PENDING, TERMINAL


@dataclass(frozen=True, slots=True)
class WorkResult:
    """The newest report of a task, from its worker or from the agent. `generation` is that of the task."""

    generation: int
    work: WorkReport

    @property
    def is_over(self) -> bool:
        """Whether nothing counts after it in its generation."""
        return self.work.state in TERMINAL

    def report(self, uid: str) -> StatusReport:
        """Return what the cloud is told. The outbox sets `seq`."""
        return StatusReport(uid, 0, self.generation, None, None, (), None, self.work)

    def to_json(self) -> dict[str, Any]:
        """Return the form that is kept on disk."""
        return {"generation": self.generation, "work": asdict(self.work)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> WorkResult:
        """Read what `to_json` gave.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: it is something else.
        """
        return cls(data["generation"], WorkReport(**data["work"]))


def pending(generation: int, time: str, message: str) -> WorkResult:
    """Return the agent's own word on a task that no worker has: what it waits for."""
    return _of_agent(PENDING, generation, time, message)


def failed(generation: int, time: str, message: str) -> WorkResult:
    """Return the agent's own word on a task whose command failed for good."""
    return _of_agent(FAILED, generation, time, message)


def _of_agent(state: str, generation: int, time: str, message: str) -> WorkResult:
    # Named by what it says: after a restart the same word has the same id, and the cloud knows it already.
    message = message[:MAX_MESSAGE]
    digest = hashlib.sha256(message.encode("utf-8", "replace")).hexdigest()[:8]
    return WorkResult(generation, WorkReport(f"{state.lower()}-{generation}-{digest}", state, time, message=message))
