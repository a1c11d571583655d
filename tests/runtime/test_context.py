from __future__ import annotations

from structlog.testing import capture_logs

from neptune.api import ResourceKey
from neptune.log import get_logger
from neptune.runtime.context import CallLog


def test_lines_of_one_call_carry_its_key_and_one_id() -> None:
    with capture_logs() as lines:
        log = CallLog(get_logger(controller="c"), ResourceKey("ns", "a"))
        log.info("one")
        log.info("two", more=1)
        CallLog(get_logger(), ResourceKey("ns", "a")).info("other call")
    one, two, other = lines
    assert {key: one[key] for key in ("controller", "namespace", "name")} == {
        "controller": "c",
        "namespace": "ns",
        "name": "a",
    }
    assert one["reconcile_id"] == two["reconcile_id"] != other["reconcile_id"]
