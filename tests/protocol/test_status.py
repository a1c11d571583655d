from __future__ import annotations

from neptune.protocol.status import RESEND_MAX_SECONDS, WINDOW, Outbox
from tests.protocol.samples import a_report, a_verdict, rng


def an_outbox(*uids: str) -> Outbox:
    outbox = Outbox(rng())
    for uid in uids:
        outbox.put(a_report(uid))
    return outbox


def many(count: int) -> Outbox:
    return an_outbox(*(f"u{number}" for number in range(count)))


def test_reports_are_numbered_in_the_order_in_which_they_came() -> None:
    assert [report.seq for report in an_outbox("a", "b", "a").due(0.0)] == [3, 2]


def test_only_the_latest_report_of_an_object_is_kept() -> None:
    outbox = an_outbox("a")
    for samples in range(1000):
        outbox.put(a_report("a", samples))
    assert len(outbox) == 1
    assert [report.number_of_samples for report in outbox.due(0.0)] == [999]


def test_report_without_a_verdict_is_sent_again_later_and_later() -> None:
    outbox, now, waits = an_outbox("a"), 0.0, []
    for _ in range(8):
        assert len(outbox.due(now)) == 1
        assert outbox.due(now) == []
        due = outbox.next_due()
        assert due is not None
        waits.append(due - now)
        now = due
    assert 2.5 <= waits[0] <= 5.0
    assert RESEND_MAX_SECONDS / 2 <= waits[-1] <= RESEND_MAX_SECONDS


def test_verdict_settles_its_report_once() -> None:
    outbox = an_outbox("a", "b")
    first, _ = outbox.due(0.0)
    assert outbox.settle(a_verdict(first))
    assert not outbox.settle(a_verdict(first))
    assert len(outbox) == 1


def test_verdict_for_an_older_report_does_not_settle_the_latest() -> None:
    outbox = an_outbox("a")
    (old,) = outbox.due(0.0)
    outbox.put(a_report("a", 2))
    assert not outbox.settle(a_verdict(old))
    (latest,) = outbox.due(0.0)
    assert latest.number_of_samples == 2
    assert outbox.settle(a_verdict(latest))
    assert outbox.next_due() is None


def test_forgotten_object_leaves_nothing() -> None:
    outbox = an_outbox("a")
    outbox.forget("a")
    outbox.forget("never")
    outbox.hurry()
    assert (len(outbox), len(outbox.digests)) == (0, 0)
    assert outbox.next_due() is None


def test_hurry_sends_at_once_what_has_no_verdict_and_nothing_else() -> None:
    outbox = an_outbox("a", "b")
    settled, waiting = outbox.due(0.0)
    outbox.settle(a_verdict(settled))
    outbox.hurry()
    assert outbox.due(0.1) == [waiting]


def test_remembered_status_is_sent_only_when_it_is_asked_for() -> None:
    outbox = Outbox(rng())
    outbox.remember(a_report("a"))
    assert (outbox.due(0.0), "a" in outbox) == ([], False)
    outbox.send("a")
    assert outbox.due(0.0) == [a_report("a", seq=1)]


def test_window_bounds_what_is_unanswered() -> None:
    outbox = many(WINDOW + 10)
    sent = outbox.due(0.0)
    assert len(sent) == WINDOW
    assert outbox.due(0.0) == []
    for report in sent[:4]:
        outbox.settle(a_verdict(report))
    assert len(outbox.due(0.0)) == 4


def test_full_window_plans_nothing_before_the_first_wait_for_a_verdict_ends() -> None:
    outbox = many(WINDOW + 10)
    outbox.due(100.0)
    due = outbox.next_due()
    assert due is not None
    assert due >= 102.5, "a deadline in the past would keep the caller spinning"
    assert outbox.due(due), "and at the deadline there is something to send"


def test_next_due_is_exactly_when_due_gives_something() -> None:
    outbox, now = many(WINDOW * 2 + 7), 0.0
    for _ in range(1000):
        due = outbox.next_due()
        assert due is not None
        before = (now + due) / 2
        if due > now:
            assert outbox.due(before) == []
        now = max(now, due)
        assert outbox.due(now)


def test_reports_that_never_get_a_verdict_do_not_keep_the_others_out() -> None:
    outbox, now = many(WINDOW), 0.0
    poison = {report.uid for report in outbox.due(now)}
    healthy = {f"healthy{number}" for number in range(WINDOW)}
    for uid in healthy:
        outbox.put(a_report(uid))
    deadline = now + 2 * RESEND_MAX_SECONDS
    while healthy and now < deadline:
        now = outbox.next_due() or deadline
        for report in outbox.due(now):
            if report.uid not in poison:
                outbox.settle(a_verdict(report))
                healthy.discard(report.uid)
    assert not healthy
