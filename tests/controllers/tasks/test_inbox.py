"""Reports until they are written: the newest of each node, and never one that was overtaken."""

from __future__ import annotations

from neptune.api import ResourceKey
from neptune.controllers.reports import Report
from neptune.controllers.tasks.inbox import Inbox
from neptune.protocol.messages import StatusReport, WorkReport

KEY = ResourceKey("ns", "digits")


def report(node: str, seq: int, *, epoch: int = 1, uid: str = "u") -> Report:
    work = WorkReport(str(seq), "Running", "2026-01-31T12:00:00Z")
    return Report(node, epoch, StatusReport(uid, seq, 1, None, None, (), None, work))


def test_ten_thousand_reports_of_two_nodes_are_two() -> None:
    inbox = Inbox()
    named: list[ResourceKey] = []
    inbox.start(named.append)
    for seq in range(1, 5001):
        inbox.put(KEY, report("edge0", seq))
        inbox.put(KEY, report("edge1", seq))
    assert [each.status.seq for each in inbox.held(KEY)] == [5000, 5000]
    assert set(named) == {KEY}


def test_what_was_overtaken_does_not_come_back_even_after_the_newer_one_was_written() -> None:
    inbox = Inbox()
    newer, older, restarted = report("edge0", 5), report("edge0", 4), report("edge0", 1, epoch=2)
    inbox.put(KEY, newer)
    inbox.discard(KEY, newer)
    inbox.put(KEY, older)
    assert inbox.held(KEY) == []
    inbox.put(KEY, restarted)
    assert inbox.held(KEY) == [restarted]
    inbox.put(KEY, report("edge0", 1, uid="made anew"))
    assert len(inbox) == 1


def test_discarding_leaves_what_came_meanwhile() -> None:
    inbox = Inbox()
    first, second = report("edge0", 1), report("edge0", 2)
    inbox.put(KEY, first)
    inbox.put(KEY, second)
    inbox.discard(KEY, first)
    assert inbox.held(KEY) == [second]


def test_what_came_before_the_controller_started_is_named_then() -> None:
    inbox = Inbox()
    named: list[ResourceKey] = []
    inbox.put(KEY, report("edge0", 1))
    inbox.start(named.append)
    assert named == [KEY]
    inbox.forget(KEY)
    inbox.put(KEY, report("edge0", 1))
    assert len(inbox) == 1
