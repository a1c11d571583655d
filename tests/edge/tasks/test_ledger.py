"""Which report counts, and when it is told; the time is moved by hand."""

from __future__ import annotations

from neptune.edge.tasks.ledger import Batch, Ledger, fold
from neptune.edge.tasks.results import WorkResult, failed, pending
from neptune.protocol.messages import WorkReport

TIME = "2026-01-02T03:04:05Z"


def work(name: str, state: str = "Running") -> WorkReport:
    return WorkReport(name, state, TIME)


def batch(*names: str, state: str = "Running") -> Batch:
    return fold([(f"{name}.json", work(name, state)) for name in names], 1, None)


def test_of_several_the_last_counts_and_the_others_are_done_with() -> None:
    assert batch("1", "2", "3") == Batch(("3.json", work("3")), ("1.json", "2.json"))


def test_nothing_counts_after_a_terminal_one_of_the_same_scan_or_of_an_earlier_one() -> None:
    found = fold([("1", work("1", "Failed")), ("2", work("2")), ("3", "no JSON")], 1, None)
    assert found.best == ("1", work("1", "Failed"))
    assert [name for name, _ in found.refused] == ["2", "3"]
    found = fold([("4", work("4", "Completed"))], 1, WorkResult(1, work("1", "Failed")))
    assert (found.best, found.refused[0][0]) == (None, "4")


def test_the_end_of_an_earlier_generation_is_no_end() -> None:
    assert fold([("4", work("4"))], 2, WorkResult(1, work("1", "Failed"))).best == ("4", work("4"))


def test_a_report_that_the_store_has_already_is_done_with_whatever_came_meanwhile() -> None:
    """The clock went back between two reports: the later one has the earlier name."""
    found = fold([("1", work("1")), ("2", work("2"))], 1, WorkResult(1, work("2")))
    assert found == Batch(("1", work("1")), ("2",))


def test_the_file_that_counts_stays_until_it_is_stored_and_the_older_go_first() -> None:
    ledger = Ledger(1.0)
    assert ledger.take(batch("1", "2"), 1) == ("1.json",)
    assert ledger.take(batch("3", "4"), 1) == ("2.json", "3.json")
    assert (ledger.file, ledger.result) == ("4.json", WorkResult(1, work("4")))
    last = ledger.result
    assert last is not None
    assert ledger.take(batch("5"), 1) == ("4.json",)
    assert ledger.stored(last) is None  # it is not the one that counts any more
    assert ledger.result is not None
    assert ledger.stored(ledger.result) == "5.json"
    assert ledger.file is None


def test_reports_are_told_once_an_interval_and_the_end_at_once() -> None:
    ledger = Ledger(1.0)
    assert ledger.due_at() is None
    ledger.take(batch("1"), 1)
    assert ledger.due_at() == 0.0
    ledger.told(100.0)
    assert ledger.due_at() is None
    ledger.take(batch("2"), 1)
    ledger.take(batch("3"), 1)
    assert ledger.due_at() == 101.0
    ledger.take(batch("4", state="Completed"), 1)
    assert ledger.due_at() == 0.0


def test_the_agents_own_word_is_said_once_and_not_after_the_end() -> None:
    ledger = Ledger(1.0)
    ledger.say(pending(1, TIME, "waiting for model m"))
    ledger.told(0.0)
    ledger.say(pending(1, "2026-01-02T03:04:06Z", "waiting for model m"))
    assert ledger.is_told
    ledger.say(failed(1, TIME, "exit code 1"))
    ledger.say(pending(1, TIME, "waiting for model m"))
    assert ledger.is_over(1)
    ledger.say(pending(2, TIME, "waiting for model m"))
    assert not ledger.is_over(2)
    assert ledger.result == pending(2, TIME, "waiting for model m")


def test_a_result_is_the_same_after_it_was_on_disk() -> None:
    result = WorkResult(3, WorkReport("a", "Running", TIME, 4, 5, {"loss": "0.5"}, "m"))
    assert WorkResult.from_json(result.to_json()) == result
