from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from structlog import get_context
from structlog.testing import capture_logs

from neptune.api import ResourceKey
from neptune.log import get_logger
from neptune.runtime.context import CallLog


def pickled(each: Any) -> Any:
    return pickle.loads(pickle.dumps(each))  # noqa: S301  # of our own


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


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_the_log_of_a_call_can_be_copied_and_pickled(again: Callable[[CallLog], CallLog]) -> None:
    log = CallLog(get_logger(controller="c"), ResourceKey("ns", "a"))
    assert get_context(again(log).bind())["name"] == "a"
    log.debug("one line")
    assert get_context(again(log).bind()) == get_context(log.bind())


def test_a_method_that_loggers_lack_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such"):
        CallLog(get_logger(), ResourceKey("ns", "a")).__no_such__()
