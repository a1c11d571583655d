"""When to look at which dataset, and what to say about it. Pure: the time is an argument.

Flow: `due` hands out looks; each comes back through `begun` (its file has to be counted, `progressed` follows) and
`finished`; `finished` and `tell` give the news.
Invariants: a dataset is in one look at a time; a look at a spec that has changed since is ignored; whatever wakes a
dataset while it is being looked at leads to another look, so the last change is never missed; nothing is said or
stored twice.
Neighbours: `monitor` does the looking and the counting, `agent` stores and reports the news.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from neptune.edge.counting import Checkpoint
from neptune.edge.problems import Problem
from neptune.edge.results import Result, counted, counting, not_counted
from neptune.protocol.messages import ConditionReport, DesiredObject, StatusReport

#: How long a burst of file events is gathered (seconds). Longer than `counting` distrusts a fresh change.
DEBOUNCE_SECONDS = 0.05
#: A count that takes longer than this is told to the user (seconds), and how often its progress is.
TELL_AFTER_SECONDS, TELL_EVERY_SECONDS = 0.5, 5.0

#: How many numbers of one dataset may follow each other at once before the interval holds them apart: a person who
#: appends a line now and then never waits, a program that writes all the time is told once an interval.
BURST = 5


class Ticket(NamedTuple):
    """A look that is under way: at which dataset, and which of its specs."""

    uid: str
    number: int
    url: object
    format: object
    known: Checkpoint | None


@dataclass(frozen=True, slots=True)
class News:
    """What a look has brought: a result to store, a report to send, or either."""

    uid: str
    result: Result | None
    report: StatusReport | None


@dataclass(slots=True)
class _Run:
    """A count that is under way or waits for its turn; `done` and `total` are bytes."""

    tell_at: float
    done: int = 0
    total: int = 0


@dataclass(slots=True)
class _Dataset:
    item: DesiredObject
    ticket: int
    result: Result | None
    reported: StatusReport | None
    not_before: float = 0.0
    #: Numbers so far, one an interval, would have lasted until then (generic cell rate algorithm, ITU-T I.371).
    paid_until: float = 0.0
    looking: bool = False
    again: bool = False

    @property
    def source(self) -> tuple[object, object]:
        """What the number depends on besides the data."""
        return self.item.spec.get("url"), self.item.spec.get("format")


@dataclass(slots=True)
class Schedule:
    """The datasets of a node.

    `poll_seconds` is how often each is looked at without any cause. `interval_seconds` is the time
    between two numbers of a dataset that changes all the time; `BURST` of them may come at once, and the first number
    of a spec waits for nothing.
    """

    poll_seconds: float
    interval_seconds: float
    _datasets: dict[str, _Dataset] = field(default_factory=dict)
    _poll_at: float = 0.0
    _wake_at: dict[str, float] = field(default_factory=dict)
    _runs: dict[str, _Run] = field(default_factory=dict)
    _tickets: int = 0

    def put(self, item: DesiredObject, now: float, result: Result | None = None) -> None:
        """Take a new or changed dataset; `result` is what the disk has of it."""
        dataset = self._datasets.get(item.uid)
        if dataset is None:
            reported = result.report(item.uid) if result else None
            dataset = _Dataset(item, self._next_ticket(), result, reported)
            self._datasets[item.uid] = dataset
        else:
            is_same_source = (item.spec.get("url"), item.spec.get("format")) == dataset.source
            dataset.item = item
            if not is_same_source:
                dataset.ticket = self._next_ticket()
                dataset.looking = False
                self._runs.pop(item.uid, None)
        dataset.not_before = 0.0
        self._wake(item.uid, dataset, now)

    def forget(self, uid: str) -> None:
        """Drop a dataset; a look that is under way comes to nothing."""
        for table in (self._datasets, self._wake_at, self._runs):
            table.pop(uid, None)

    def wake(self, uid: str, now: float) -> None:
        """Something happened to the file of this dataset."""
        dataset = self._datasets.get(uid)
        if dataset is not None:
            self._wake(uid, dataset, max(now + DEBOUNCE_SECONDS, dataset.not_before))

    def wake_all(self, now: float) -> None:
        """Something may have happened to every file."""
        self._poll_at = min(self._poll_at, now)

    def due(self, now: float) -> list[Ticket]:
        """Return what should be looked at now; each ticket comes back through `finished`."""
        uids = [uid for uid, at in self._wake_at.items() if at <= now]
        if self._poll_at <= now:
            self._poll_at = now + self.poll_seconds
            uids = list(self._datasets)
        return [ticket for uid in uids if (ticket := self._start(uid, now)) is not None]

    def is_current(self, ticket: Ticket) -> bool:
        """Tell whether anybody still wants to know what that look finds."""
        dataset = self._datasets.get(ticket.uid)
        return dataset is not None and dataset.ticket == ticket.number

    def begun(self, ticket: Ticket, now: float) -> None:
        """The file has to be counted, as soon as its turn comes."""
        if self.is_current(ticket):
            self._runs[ticket.uid] = _Run(now + TELL_AFTER_SECONDS)

    def progressed(self, ticket: Ticket, done: int, total: int) -> None:
        """So many bytes are counted."""
        if self.is_current(ticket) and (run := self._runs.get(ticket.uid)) is not None:
            run.done, run.total = done, total

    def finished(
        self, ticket: Ticket, outcome: Checkpoint | Problem, now: float, wall: str, *, cost_seconds: float = 0.0
    ) -> News | None:
        """Take what a look or a count has found.

        `wall` is the time of day for `update_time`, `cost_seconds` how long the file was being read.
        """
        if not self.is_current(ticket):
            return None
        uid, dataset = ticket.uid, self._datasets[ticket.uid]
        run, dataset.looking = self._runs.pop(uid, None), False
        before, result = dataset.result, _concluded(dataset, outcome, wall)
        report = result.report(uid)
        is_news = report != dataset.reported
        if isinstance(outcome, Checkpoint) and (run is not None or is_news):
            # A file that changes all the time takes half of one core at most.
            dataset.paid_until = max(dataset.paid_until, now) + self.interval_seconds
            dataset.not_before = max(now + cost_seconds, dataset.paid_until - (BURST - 1) * self.interval_seconds)
        if dataset.again:
            dataset.again = False
            self._wake(uid, dataset, max(now, dataset.not_before))
        if result == before and not is_news:
            return None
        dataset.result, dataset.reported = result, report
        return News(uid, result if result != before else None, report if is_news else None)

    def tell(self, now: float) -> list[News]:
        """Return what users should know of counts that take long."""
        news = []
        for uid, run in self._runs.items():
            if run.tell_at > now:
                continue
            dataset = self._datasets[uid]
            run.tell_at = now + TELL_EVERY_SECONDS
            report = _underway(dataset, run).report(uid)
            if report != dataset.reported:
                dataset.reported = report
                news.append(News(uid, None, report))
        return news

    def next_deadline(self) -> float:
        """Return when `due` or `tell` has something next."""
        tells = (run.tell_at for run in self._runs.values())
        return min([self._poll_at, *self._wake_at.values(), *tells]) if self._datasets else float("inf")

    def _wake(self, uid: str, dataset: _Dataset, at: float) -> None:
        if dataset.looking:
            dataset.again = True
        else:
            self._wake_at[uid] = min(at, self._wake_at.get(uid, at))

    def _start(self, uid: str, now: float) -> Ticket | None:
        dataset = self._datasets[uid]
        if dataset.looking:
            return None
        if dataset.not_before > now:
            self._wake_at[uid] = dataset.not_before
            return None
        self._wake_at.pop(uid, None)
        dataset.looking = True
        known = dataset.result.checkpoint if dataset.result else None
        return Ticket(uid, dataset.ticket, *dataset.source, known)

    def _next_ticket(self) -> int:
        self._tickets += 1
        return self._tickets


def _concluded(dataset: _Dataset, outcome: Checkpoint | Problem, wall: str) -> Result:
    """Return the result of a look that is over."""
    last, number = dataset.result, _last_number(dataset)
    if isinstance(outcome, Problem):
        return _result(dataset, number, not_counted(outcome), last.checkpoint if last else None)
    is_same_number = last is not None and last.samples == outcome.samples
    update_time = last.update_time if last is not None and is_same_number else wall
    return _result(dataset, (outcome.samples, update_time), counted(outcome.samples), outcome)


def _underway(dataset: _Dataset, run: _Run) -> Result:
    """Return what is said while a count goes on."""
    return _result(dataset, _last_number(dataset), counting(run.done, run.total), None)


def _last_number(dataset: _Dataset) -> tuple[int | None, str | None]:
    """Return the last number and when it changed, unless it is that of another url or format."""
    last = dataset.result
    if last is None or (last.url, last.format) != _texts(dataset):
        return None, None
    return last.samples, last.update_time


def _result(
    dataset: _Dataset, number: tuple[int | None, str | None], condition: ConditionReport, checkpoint: Checkpoint | None
) -> Result:
    return Result(dataset.item.generation, *_texts(dataset), *number, condition, checkpoint)


def _texts(dataset: _Dataset) -> tuple[str, str]:
    url, format_ = dataset.source
    return str(url), str(format_)
