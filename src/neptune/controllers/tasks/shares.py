"""Rows of a status, one a node: for kinds that keep them in `neptune.api.Share`, as `FederatedTask` does.

Invariant: `reports_of` gives back the report that `share_of` made a row of, as far as a row keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import TypeAdapter

from neptune.api import Share, Time
from neptune.controllers.tasks.kind import Part
from neptune.protocol.messages import WorkReport

_time: TypeAdapter[datetime] = TypeAdapter(Time)
_LONG_AGO = datetime.fromtimestamp(0, UTC)


def share_of(part: Part) -> Share:
    """Return the row of a part: what its node's worker said last, or that nobody has said anything."""
    report = part.report
    if report is None:
        return Share(node=part.node, datasets=[*part.datasets], samples=part.samples)
    return Share.model_validate(
        {
            "node": part.node,
            "datasets": [*part.datasets],
            "state": report.state,
            "progress": report.progress,
            "samples": part.samples if report.samples is None else report.samples,
            "metrics": dict(sorted(report.metrics.items())),
            **({"message": report.message} if report.message else {}),
            "reportID": report.id,
            "reportTime": report.time,
        }
    )


def reports_of(shares: Iterable[Share]) -> dict[str, WorkReport]:
    """Return the newest report of each node, from rows."""
    return {
        share.node: WorkReport(
            share.report_id,
            share.state,
            _time.dump_python(share.report_time or _LONG_AGO, mode="json"),
            share.progress,
            share.samples,
            share.metrics,
            share.message,
        )
        for share in shares
        if share.report_id
    }
