"""What is known of one dataset: the number, what proves it, and the condition that says whether it is right.

Neighbours: `schedule` makes results, `store` keeps them as JSON, `agent` sends them as the protocol's `StatusReport`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from neptune.edge.counting import Checkpoint, FileId
from neptune.edge.problems import Problem, Reason
from neptune.protocol.messages import ConditionReport, StatusReport

#: The one condition that a node reports; the cloud adds those that it alone can know.
READY = "Ready"


@dataclass(frozen=True, slots=True)
class Result:
    """The latest finished look at a dataset.

    `generation` is that of the spec it answers. `samples` is the last known number, kept when the data cannot be
    counted any more (`condition` says so), and None when there is none for this url and format. `update_time` is when
    the number last changed (RFC 3339, UTC).
    """

    generation: int
    url: str
    format: str
    samples: int | None
    update_time: str | None
    condition: ConditionReport
    checkpoint: Checkpoint | None

    def report(self, uid: str) -> StatusReport:
        """Return what the cloud is told. The outbox sets `seq`."""
        return StatusReport(uid, 0, self.generation, self.samples, self.update_time, (self.condition,))

    def to_json(self) -> dict[str, Any]:
        """Return the form that is kept on disk."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """Read what `to_json` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        saved = data["checkpoint"]
        checkpoint = None
        if saved is not None:
            file, state = FileId(*saved["file"]), tuple(saved["state"])
            checkpoint = Checkpoint(**{**saved, "file": file, "state": state})
        return cls(**{**data, "condition": ConditionReport(**data["condition"]), "checkpoint": checkpoint})


def counted(samples: int) -> ConditionReport:
    """Return the condition of a dataset whose number is right."""
    return ConditionReport(READY, "True", Reason.COUNTED.value, f"{samples} sample{'' if samples == 1 else 's'}")


def not_counted(problem: Problem) -> ConditionReport:
    """Return the condition of a dataset whose number is not known or no longer right."""
    return ConditionReport(READY, "False", problem.reason.value, problem.message)


def counting(done: int, total: int) -> ConditionReport:
    """Return the condition of a dataset that is being counted; `done` and `total` are bytes."""
    percent = 100 * done // total if total else 0
    message = f"counting: {percent} % of {total} bytes" if total else "waiting for other datasets to be counted"
    return ConditionReport(READY, "Unknown", Reason.COUNTING.value, message)
