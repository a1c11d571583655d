"""The outbox when there is more to send than its window holds."""

from __future__ import annotations

from random import Random

from neptune.protocol.messages import StatusReport, Verdict
from neptune.protocol.status import RESEND_MAX_SECONDS, WINDOW, Outbox


def full(number: int) -> Outbox:
    outbox = Outbox(Random(1))  # noqa: S311 - jitter that repeats
    for index in range(number):
        outbox.put(StatusReport(f"u{index}", 0, 1, index, None, ()))
    return outbox


def test_nothing_is_due_before_a_verdict_or_a_resend_when_the_window_is_full() -> None:
    outbox = full(WINDOW + 1)
    assert len(outbox.due(10.0)) == WINDOW
    assert outbox.due(10.0) == []
    # A deadline in the past would make the agent spin.
    due = outbox.next_due()
    assert due is not None
    assert due > 10.0
    assert outbox.due(due) != []


def test_a_verdict_makes_room() -> None:
    outbox = full(WINDOW + 1)
    first = outbox.due(10.0)[0]
    outbox.settle(Verdict(first.uid, first.seq, 200))
    assert outbox.next_due() == 0.0
    assert [report.uid for report in outbox.due(10.0)] == [f"u{WINDOW}"]


def test_statuses_without_a_verdict_do_not_keep_others_from_their_turn() -> None:
    outbox = full(3 * WINDOW)
    sent: set[str] = set()
    for turn in range(1, 5):
        now = turn * RESEND_MAX_SECONDS
        sent.update(report.uid for report in outbox.due(now))
        due = outbox.next_due()
        assert due is not None
        assert due > now
    assert len(sent) == 3 * WINDOW
