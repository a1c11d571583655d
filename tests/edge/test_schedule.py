"""When to look and what to say, on virtual time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from neptune.edge.counting import Checkpoint
from neptune.edge.looking import Content
from neptune.edge.problems import Problem, Reason
from neptune.edge.proof import Proof
from neptune.edge.results import Result, counted
from neptune.edge.schedule import BURST, DEBOUNCE_SECONDS, News, Schedule, Ticket
from neptune.edge.sources import FileId
from tests.edge.bench import dataset

POLL, INTERVAL = 2.0, 1.0
GONE = Problem(Reason.NOT_FOUND, "gone")


def content(samples: int, *, mtime: int = 1, files: int = 1) -> Content:
    """Return what a count has found; the content is that of its number."""
    file = Checkpoint(FileId(1, 1, samples, mtime, 1), "txt", (samples, 0), samples, Proof(samples, 65536, "", "00"))
    empty = file._replace(samples=0)
    return Content({"/a": file, **{f"/{number}": empty for number in range(1, files)}})


@dataclass
class Bench:
    """A schedule and the hands of its clock."""

    schedule: Schedule = field(default_factory=lambda: Schedule(INTERVAL))
    now: float = 100.0

    def look(self, uid: str = "u1") -> Ticket:
        """Return the one look that is due, at the latest because a poll has found a difference."""
        tickets = self.schedule.due(self.now)
        if not tickets:
            self.schedule.wake(uid, self.now - DEBOUNCE_SECONDS)
            tickets = self.schedule.due(self.now)
        (ticket,) = tickets
        assert ticket.uid == uid
        return ticket

    def finish(self, ticket: Ticket, outcome: Content | Problem, seconds: float = 0.0) -> News | None:
        return self.schedule.finished(ticket, outcome, self.now, f"at {self.now}", cost_seconds=seconds)

    def count(self, samples: int, *, seconds: float = 0.0) -> News | None:
        """Look, count for so long, and finish."""
        ticket = self.look()
        self.schedule.begun(ticket, self.now)
        self.now += seconds
        return self.finish(ticket, content(samples), seconds)


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.schedule.put(dataset("/a"), bench.now)
    return bench


def said(news: News | None) -> tuple[int, int | None, str | None, str, str]:
    assert news is not None
    assert news.report is not None
    (condition,) = news.report.conditions
    report = news.report
    return report.observed_generation, report.number_of_samples, report.update_time, condition.status, condition.message


def test_a_new_dataset_is_looked_at_and_told_at_once(bench: Bench) -> None:
    news = bench.count(128)
    assert said(news) == (1, 128, "at 100.0", "True", "128 samples")
    assert news is not None
    assert news.result is not None
    assert news.result.report("u1") == news.report


def test_without_a_cause_nothing_is_due_and_nothing_is_said_twice(bench: Bench) -> None:
    bench.count(1)
    assert bench.schedule.due(bench.now + 3600) == []
    assert bench.schedule.next_deadline() == float("inf")
    bench.now += POLL
    assert bench.finish(bench.look(), content(1)) is None


def test_an_empty_file_has_zero_samples_and_one_has_a_singular(bench: Bench) -> None:
    assert said(bench.count(0))[1::3] == (0, "0 samples")
    bench.now += POLL
    assert said(bench.count(1))[4] == "1 sample"


def test_a_burst_of_events_leads_to_one_look(bench: Bench) -> None:
    bench.count(1)
    bench.now += 1.5
    for _ in range(100):
        bench.schedule.wake("u1", bench.now)
    assert bench.schedule.due(bench.now) == []
    assert bench.schedule.next_deadline() == bench.now + DEBOUNCE_SECONDS
    bench.now += DEBOUNCE_SECONDS
    bench.finish(bench.look(), content(2))
    assert bench.schedule.due(bench.now) == []


def test_a_change_soon_after_a_number_is_counted_without_a_wait(bench: Bench) -> None:
    bench.count(1)
    bench.schedule.wake("u1", bench.now)
    bench.now += DEBOUNCE_SECONDS
    assert said(bench.count(2))[1] == 2


def test_a_file_that_changes_all_the_time_is_told_once_an_interval_and_its_last_number_is_not_lost(
    bench: Bench,
) -> None:
    for number in range(BURST):
        bench.count(number)
        bench.schedule.wake("u1", bench.now - DEBOUNCE_SECONDS)
    assert bench.schedule.due(bench.now) == []
    assert bench.schedule.next_deadline() == bench.now + INTERVAL
    bench.now += INTERVAL
    assert said(bench.count(99))[1] == 99


def test_the_first_number_of_a_dataset_that_had_a_problem_waits_for_nothing(bench: Bench) -> None:
    bench.finish(bench.look(), GONE)
    bench.schedule.wake("u1", bench.now)
    bench.now += DEBOUNCE_SECONDS
    assert said(bench.count(5))[1] == 5


def test_an_event_while_a_file_is_counted_leads_to_another_look(bench: Bench) -> None:
    ticket = bench.look()
    bench.schedule.begun(ticket, bench.now)
    bench.schedule.wake("u1", bench.now)
    assert bench.schedule.due(bench.now + 5) == []
    bench.finish(ticket, content(1))
    bench.now += INTERVAL
    assert said(bench.count(2))[1] == 2


def test_a_file_that_changes_all_the_time_takes_half_of_the_time_at_most(bench: Bench) -> None:
    bench.count(1, seconds=30.0)
    bench.schedule.wake("u1", bench.now)
    for later in (1.0, 29.9):
        assert bench.schedule.due(bench.now + later) == []
    assert len(bench.schedule.due(bench.now + 30.0)) == 1


def test_every_generation_is_reported_even_with_the_same_number(bench: Bench) -> None:
    bench.count(7)
    bench.schedule.put(dataset("/a", generation=2), bench.now)
    assert said(bench.finish(bench.look(), content(7))) == (2, 7, "at 100.0", "True", "7 samples")


def test_another_url_with_the_same_number_keeps_the_time_of_the_last_change(bench: Bench) -> None:
    bench.count(7)
    bench.now += 0.1
    bench.schedule.put(dataset("/b", generation=2), bench.now)
    assert said(bench.count(7)) == (2, 7, "at 100.0", "True", "7 samples")


def test_a_look_at_the_url_before_is_ignored(bench: Bench) -> None:
    old = bench.look()
    bench.schedule.begun(old, bench.now)
    bench.schedule.put(dataset("/b", generation=2), bench.now)
    assert not bench.schedule.is_current(old)
    bench.schedule.progressed(old, 1, 2)
    new = bench.look()
    assert new.url == "/b"
    assert bench.finish(old, content(1)) is None
    assert said(bench.finish(new, content(2)))[:2] == (2, 2)


def test_a_problem_keeps_the_last_number_and_heals(bench: Bench) -> None:
    bench.count(7)
    bench.now += POLL
    assert said(bench.finish(bench.look(), GONE)) == (1, 7, "at 100.0", "False", "gone")
    bench.now += POLL
    assert said(bench.count(7)) == (1, 7, "at 100.0", "True", "7 samples")


def test_a_problem_with_another_url_has_no_number(bench: Bench) -> None:
    bench.count(7)
    bench.schedule.put(dataset("/b", generation=2), bench.now)
    assert said(bench.finish(bench.look(), GONE)) == (2, None, None, "False", "gone")


def test_a_count_that_takes_long_is_told_after_half_a_second_and_then_every_five(bench: Bench) -> None:
    ticket = bench.look()
    bench.schedule.begun(ticket, bench.now)
    assert bench.schedule.tell(bench.now + 0.4) == []
    assert bench.schedule.next_deadline() == bench.now + 0.5
    (first,) = bench.schedule.tell(bench.now + 0.5)
    assert said(first) == (1, None, None, "Unknown", "waiting for other datasets to be counted")
    assert first.result is None
    bench.schedule.progressed(ticket, 30, 1000)
    assert bench.schedule.tell(bench.now + 5.4) == []
    (second,) = bench.schedule.tell(bench.now + 5.5)
    assert said(second)[4] == "counting: 3 % of 1000 bytes"
    bench.now += 7
    assert said(bench.finish(ticket, content(9)))[1:] == (9, "at 107.0", "True", "9 samples")
    assert bench.schedule.tell(bench.now + 60) == []


def test_a_slow_count_of_the_same_number_takes_the_word_back_without_a_write(bench: Bench) -> None:
    bench.count(7)
    bench.now += POLL
    ticket = bench.look()
    bench.schedule.begun(ticket, bench.now)
    (told,) = bench.schedule.tell(bench.now + 1)
    assert said(told)[1:4] == (7, "at 100.0", "Unknown")
    news = bench.finish(ticket, content(7))
    assert said(news)[3] == "True"
    assert news is not None
    assert news.result is None


def test_a_file_that_changed_but_not_its_number_is_stored_and_not_reported(bench: Bench) -> None:
    bench.count(7)
    bench.now += POLL
    news = bench.finish(bench.look(), content(7, mtime=2))
    assert news is not None
    assert (news.report, news.result is None) == (None, False)


def test_what_the_disk_remembers_is_not_reported_again(bench: Bench) -> None:
    schedule = Schedule(INTERVAL)
    result = Result(1, "/a", "txt", 7, "before", content(7).fingerprint(), counted(7), content(7))
    schedule.put(dataset("/a"), 0.0, result)
    (ticket,) = schedule.due(0.0)
    assert ticket.known == content(7)
    assert schedule.finished(ticket, content(7), 0.0, "now") is None


def test_other_content_of_the_same_number_is_told_with_its_fingerprint(bench: Bench) -> None:
    bench.count(7)
    bench.now += POLL
    other = Content({"/a": content(7).files["/a"]._replace(proof=Proof(7, 65536, "", "11"))})
    news = bench.finish(bench.look(), other)
    assert said(news) == (1, 7, "at 100.0", "True", "7 samples")
    assert news is not None
    assert news.report is not None
    assert news.report.fingerprint == other.fingerprint()


def test_a_count_that_failed_is_tried_again_more_and_more_seldom(bench: Bench) -> None:
    waits = []
    for _ in range(11):
        ticket = bench.look()
        bench.schedule.begun(ticket, bench.now)
        bench.finish(ticket, Problem(Reason.COUNTING_FAILED, "killed"))
        waits.append(bench.schedule.next_deadline() - bench.now)
        bench.now = bench.schedule.next_deadline()
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    bench.count(1)
    assert bench.schedule.next_deadline() == float("inf")


def test_what_is_damaged_waits_for_a_change(bench: Bench) -> None:
    ticket = bench.look()
    bench.schedule.begun(ticket, bench.now)
    bench.finish(ticket, Problem(Reason.DAMAGED, "cut off"))
    assert bench.schedule.next_deadline() == float("inf")
    bench.now += 0.1
    bench.schedule.wake("u1", bench.now)
    bench.now += DEBOUNCE_SECONDS
    assert said(bench.count(5))[1] == 5


def test_a_dataset_of_many_files_has_its_numbers_further_apart(bench: Bench) -> None:
    for number in range(BURST):
        bench.finish(bench.look(), content(number, files=3000))
    bench.schedule.wake("u1", bench.now)
    assert bench.schedule.next_deadline() == bench.now + 3 * INTERVAL


def test_a_forgotten_dataset_is_nobodys_business(bench: Bench) -> None:
    ticket = bench.look()
    bench.schedule.begun(ticket, bench.now)
    bench.schedule.forget("u1")
    bench.schedule.wake("u1", bench.now)
    assert bench.finish(ticket, content(1)) is None
    assert bench.schedule.tell(bench.now + 1) == []
    assert bench.schedule.due(bench.now + 10) == []
    assert bench.schedule.next_deadline() == float("inf")


def test_lost_events_wake_every_dataset(bench: Bench) -> None:
    bench.schedule.put(dataset("/b", uid="u2"), bench.now)
    for ticket in bench.schedule.due(bench.now):
        bench.finish(ticket, GONE)
    bench.schedule.wake_all(bench.now)
    assert {ticket.uid for ticket in bench.schedule.due(bench.now + DEBOUNCE_SECONDS)} == {"u1", "u2"}
