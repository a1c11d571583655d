"""What a worker wrote: the bytes of one file in `reports/` as a report of the protocol. Pure.

Invariant: what comes out is what `protocol.work.check` lets through, and of the generation that the task has now.
Neighbours: `folder` reads the files; `docs/edge.md` is the reference of their content.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from neptune.protocol.messages import WORK_BYTES, Json, WorkReport
from neptune.protocol.work import PENDING, check, metric_text

#: A file is not read beyond this: its JSON may be indented, which the protocol's is not.
MAX_FILE_BYTES = 2 * WORK_BYTES


def parse(report_id: str, data: bytes, uid: str, generation: int, written: datetime) -> WorkReport:
    """Return the report in a file; `uid` and `generation` are those of the task, and `written` is when the file was.

    Raises:
        ValueError: it is not usable; the text says why, for who wrote the worker.
    """
    found = _json_object(data)
    given = found.get("generation", generation)
    if type(given) is not int or given != generation:
        raise ValueError(f"it is of generation {str(given)[:32]}; the task's is {generation} now")
    if found.get("uid", uid) != uid:
        raise ValueError("it is of another task, which had this name before")
    state = found.get("state")
    if state == PENDING:
        raise ValueError("a worker reports Running, Completed or Failed; Pending is the agent's word")
    metrics = found.get("metrics", {})
    if isinstance(metrics, dict):
        metrics = {name: metric_text(value) for name, value in metrics.items()}
    work = WorkReport(
        id=report_id,
        state=state,  # type: ignore[arg-type]  # `check` looks at each
        time=_time(found.get("time"), written),
        progress=found.get("progress"),
        samples=found.get("samples"),
        metrics=metrics,
        message=found.get("message", ""),
    )
    check(work)
    return work


def _json_object(data: bytes) -> Json:
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES} bytes")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004  # one kind of error
    return found


def _time(given: Any, written: datetime) -> str:
    """Return the time of a report in UTC, to the second."""
    moment = written
    if given is not None:
        try:
            moment = datetime.fromisoformat(given)
            if moment.tzinfo is None:
                raise ValueError("no zone")  # noqa: TRY301
            moment = moment.astimezone(UTC)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"the time {str(given)[:32]!r} is not RFC 3339, such as 2026-01-02T03:04:05Z") from error
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
