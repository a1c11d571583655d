"""What is known of one dataset: the number, what proves it, and the condition that says whether it is right.

Neighbours: `schedule` makes results, `store` keeps them as JSON, `agent` sends them as the protocol's `StatusReport`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from neptune.edge.looking import Content
from neptune.edge.problems import Problem, Reason
from neptune.protocol.messages import ConditionReport, StatusReport

#: The one condition that a node reports; the cloud adds those that it alone can know.
READY = "Ready"


@dataclass(frozen=True, slots=True)
class Result:
    """The latest finished look at a dataset.

    `generation` is that of the spec it answers. `samples` is the last known number, kept when the data cannot be
    counted any more (`condition` says so), and None when there is none for this url and format. `update_time` is when
    the number last changed (RFC 3339, UTC), `fingerprint` names the content that has the number, and `content` is what
    the next count goes on from.
    """

    generation: int
    url: str
    format: str
    samples: int | None
    update_time: str | None
    fingerprint: str | None
    condition: ConditionReport
    content: Content | None

    def report(self, uid: str) -> StatusReport:
        """Return what the cloud is told. The outbox sets `seq`."""
        conditions = (self.condition,)
        return StatusReport(uid, 0, self.generation, self.samples, self.update_time, conditions, self.fingerprint)

    def to_json(self) -> dict[str, Any]:
        """Return the form that is kept on disk."""
        content = self.content.to_json() if self.content else None
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**plain, "condition": asdict(self.condition), "content": content}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Result:
        """Read what `to_json` gave.

        Raises:
            AttributeError, KeyError, TypeError, ValueError: it is something else.
        """
        content = None if data["content"] is None else Content.from_json(data["content"])
        return cls(**{**data, "condition": ConditionReport(**data["condition"]), "content": content})


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
