"""Reasons are those of the API, and messages always fit the protocol."""

from __future__ import annotations

import errno

from neptune.api.dataset import Reason as ApiReason
from neptune.edge.problems import Problem, Reason, problem_of, shown


def test_every_reason_of_a_node_is_one_of_the_api() -> None:
    known = {reason.name: reason.value for reason in ApiReason}
    assert {reason.name: reason.value for reason in Reason}.items() <= known.items()


def test_a_name_is_shown_as_short_printable_unicode() -> None:
    text = shown("/a\udcff\0\n" + "x" * 5000)
    assert text.encode()
    assert text.startswith("/a???")
    assert len(text) < 310


def test_an_error_without_a_meaning_of_its_own_is_told_as_the_system_names_it() -> None:
    found = problem_of(OSError(errno.EIO, "Input/output error"), "/data/a")
    assert found == Problem(Reason.READ_FAILED, "/data/a cannot be read: Input/output error; trying again")
