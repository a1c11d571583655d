"""What a report of work may hold: one rule, asked by who writes one, by the agent, and by the cloud.

Invariant: what `check` lets through fits a message, makes a valid status in Kubernetes, and every number in it is one.
Standard library only, for a worker imports it. Neighbours: `messages` declares a `WorkReport`, `codec` its JSON.
"""

from __future__ import annotations

import math
import re
import sys
from datetime import datetime
from numbers import Integral, Real

from neptune.protocol import codec
from neptune.protocol.messages import MAX_NUMBER, WORK_BYTES, WorkReport

PENDING, RUNNING, COMPLETED, FAILED = "Pending", "Running", "Completed", "Failed"
STATES = (PENDING, RUNNING, COMPLETED, FAILED)
#: After one of these nothing else counts for that generation on that node.
TERMINAL = frozenset({COMPLETED, FAILED})
#: Metrics of one report, and characters of one's name (a label's key takes as many), of its value, and of the message.
MAX_METRICS, MAX_METRIC_NAME, MAX_METRIC_TEXT, MAX_MESSAGE = 256, 253, 1024, 1024

#: The kinds that a node has for what they say themselves.
_NO_TASKS = frozenset({"Dataset", "Model"})

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
#: RFC 3339 in UTC, as far as Kubernetes' `date-time` reads it.
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", re.ASCII)


def is_task(kind: str) -> bool:
    """Tell whether objects of this kind are tasks: any kind but `Dataset` and `Model`, so that anybody's own may be."""
    return kind not in _NO_TASKS


def check(work: WorkReport) -> None:
    """Refuse a report that is not usable, whatever its fields hold.

    Raises:
        ValueError: it says what is wrong, in words for who wrote the report.
    """
    if not (isinstance(work.id, str) and _ID.fullmatch(work.id)):
        raise ValueError("the id is not 1 to 128 characters of A-Z, a-z, 0-9, '.', '_' and '-'")
    if work.state not in STATES:
        raise ValueError(f"the state {_shown(work.state)} is none of {', '.join(STATES)}")
    _check_time(work.time)
    if work.progress is not None and not (_is_whole(work.progress) and work.progress <= 100):
        raise ValueError(f"progress {_shown(work.progress)} is not a whole number from 0 to 100")
    if work.samples is not None and not _is_whole(work.samples):
        raise ValueError(f"samples {_shown(work.samples)} is not a whole number from 0 to {MAX_NUMBER}")
    _check_text(work.message, "the message", MAX_MESSAGE)
    _check_metrics(work.metrics)
    if (size := codec.size(work)) > WORK_BYTES:
        raise ValueError(f"the report takes {size} bytes of JSON; at most {WORK_BYTES} are carried")


def metric_text(value: object) -> str:
    """Return the value of a metric as the text that is reported: a number in the fewest digits that read as itself.

    Raises:
        ValueError: it is neither a text nor a number, or a number that has no place in JSON.
    """
    if isinstance(value, str):
        return value
    # The abstract types, which numpy's numbers are of too; their own repr is not a number's.
    if isinstance(value, Real) and not isinstance(value, bool):
        number = int(value) if isinstance(value, Integral) else float(value)
        if isinstance(number, float) and not math.isfinite(number):
            raise ValueError(f"a metric is {number}, which is not a finite number")
        if abs(number) <= sys.float_info.max:
            return repr(number)
    raise ValueError(f"a metric is a text or a number, and {_shown(value)} is none that can be reckoned with")


def is_finite_number(text: str) -> bool:
    """Tell whether a metric's text reads as a number that can be reckoned with."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _check_time(time: object) -> None:
    try:
        if isinstance(time, str) and _TIME.fullmatch(time):
            datetime.fromisoformat(time)
            return
    except ValueError:
        pass
    raise ValueError(f"the time {_shown(time)} is not RFC 3339 in UTC, such as 2026-01-02T03:04:05Z")


def _check_metrics(metrics: object) -> None:
    if not isinstance(metrics, dict):
        raise ValueError(f"metrics are values by name, not {_shown(metrics)}")  # noqa: TRY004  # one kind of error
    if len(metrics) > MAX_METRICS:
        raise ValueError(f"{len(metrics)} metrics; at most {MAX_METRICS} are reported")
    for name, value in metrics.items():
        _check_text(name, "a metric's name", MAX_METRIC_NAME)
        if not name:
            raise ValueError("a metric's name is empty")
        _check_text(value, f"metric {_shown(name)}", MAX_METRIC_TEXT)
        if _is_number(value) and not is_finite_number(value):
            raise ValueError(f"metric {_shown(name)} is {_shown(value)}, which is not a finite number")


def _check_text(text: object, what: str, limit: int) -> None:
    if not isinstance(text, str):
        raise ValueError(f"{what} is not a text")  # noqa: TRY004  # one kind of error
    if len(text) > limit:
        raise ValueError(f"{what} has {len(text)} characters; at most {limit} are reported")
    # What no JSON reader, no log and no file takes (RFC 8259, 8.2), and what the protocol refuses.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{what} holds a NUL or half a surrogate pair")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER


def _shown(value: object) -> str:
    """Return a value short and on one line: whatever a worker wrote ends here in a log."""
    return repr(value)[:64] if isinstance(value, (str, float)) or _is_whole(value) else type(value).__name__
