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

from neptune.edge.looking import Content
from neptune.edge.problems import Problem, Reason
from neptune.edge.results import Result, counted, counting, not_counted
from neptune.protocol.messages import ConditionReport, DesiredObject, StatusReport

#: How long a burst of file events is gathered (seconds). Longer than `counting` distrusts a fresh change.
DEBOUNCE_SECONDS = 0.05
#: A count that takes longer than this is told to the user (seconds), and how often its progress is.
TELL_AFTER_SECONDS, TELL_EVERY_SECONDS = 0.5, 5.0

#: How many numbers of one dataset may follow each other at once before the interval holds them apart: a person who
#: appends a line now and then never waits, a program that writes all the time is told once an interval.
BURST = 5
#: A count that failed is tried again after one second, two, four and so on (seconds): memory comes back, and a server
#: changes its mind about permissions without a trace; a Secret may come a moment after its dataset. What is damaged
#: stays so until it changes.
_RETRY_SECONDS, _MAX_RETRY_SECONDS = 1.0, 300.0
_RETRIED = (
    Reason.READ_FAILED,
    Reason.COUNTING_FAILED,
    Reason.PERMISSION_DENIED,
    Reason.CREDENTIALS_FORBIDDEN,
    Reason.CREDENTIALS_NOT_FOUND,
    Reason.CREDENTIALS_INVALID,
)
#: Each result is stored whole: a dataset of more files than this has its numbers that much further apart.
_FILES_AN_INTERVAL = 1000


class Ticket(NamedTuple):
    """A look that is under way: at which dataset, and which of its specs."""

    uid: str
    number: int
    url: object
    format: object
    known: Content | None
    has_credentials: bool = False


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
    failures: int = 0

    @property
    def source(self) -> tuple[object, object]:
        """What the number depends on besides the data."""
        return self.item.spec.get("url"), self.item.spec.get("format")

    @property
    def credential_name(self) -> object:
        """The Secret that opens the url."""
        return self.item.spec.get("credentialName")


@dataclass(slots=True)
class Schedule:
    """The datasets of a node.

    `interval_seconds` is the time between two numbers of a dataset that changes all the time; `BURST` of them may come
    at once, and the first number of a spec waits for nothing.
    """

    interval_seconds: float
    _datasets: dict[str, _Dataset] = field(default_factory=dict)
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
            before = dataset.source, dataset.credential_name
            dataset.item = item
            if before != (dataset.source, dataset.credential_name):
                dataset.ticket = self._next_ticket()
                dataset.looking, dataset.failures = False, 0
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
        for uid in self._datasets:
            self.wake(uid, now)

    def due(self, now: float) -> list[Ticket]:
        """Return what should be looked at now; each ticket comes back through `finished`."""
        uids = [uid for uid, at in self._wake_at.items() if at <= now]
        return [ticket for uid in uids if (ticket := self._start(uid, now)) is not None]

    def is_current(self, ticket: Ticket) -> bool:
        """Tell whether anybody still wants to know what that look finds."""
        dataset = self._datasets.get(ticket.uid)
        return dataset is not None and dataset.ticket == ticket.number

    def begun(self, ticket: Ticket, now: float, *, quiet_seconds: float = TELL_AFTER_SECONDS) -> None:
        """The file has to be counted, as soon as its turn comes; nothing is said of it for `quiet_seconds`."""
        if self.is_current(ticket):
            self._runs[ticket.uid] = _Run(now + quiet_seconds)

    def progressed(self, ticket: Ticket, done: int, total: int) -> None:
        """So many bytes are counted."""
        if self.is_current(ticket) and (run := self._runs.get(ticket.uid)) is not None:
            run.done, run.total = done, total

    def finished(
        self, ticket: Ticket, outcome: Content | Problem, now: float, wall: str, *, cost_seconds: float = 0.0
    ) -> News | None:
        """Take what a look or a count has found.

        `wall` is the time of day for `update_time`, `cost_seconds` how long the look and the count took.
        """
        if not self.is_current(ticket):
            return None
        uid, dataset = ticket.uid, self._datasets[ticket.uid]
        run, dataset.looking = self._runs.pop(uid, None), False
        before, result = dataset.result, _concluded(dataset, outcome, wall)
        report = result.report(uid)
        is_news = report != dataset.reported
        if run is not None or (isinstance(outcome, Content) and is_news):
            self._hold_back(dataset, outcome, now, cost_seconds)
        if run is not None:
            self._retry(dataset, outcome, now)
        if dataset.again:
            dataset.again = False
            self._wake(uid, dataset, max(now, dataset.not_before))
        if result == before and not is_news:
            return None
        dataset.result, dataset.reported = result, report
        return News(uid, result if result != before else None, report if is_news else None)

    def standing(self, uid: str) -> ConditionReport | None:
        """Return what was found at the url that the dataset has now; None before anybody has looked there."""
        dataset = self._datasets.get(uid)
        if dataset is None:
            return None
        if (run := self._runs.get(uid)) is not None:
            return counting(run.done, run.total)
        result = dataset.result
        return result.condition if result and (result.url, result.format) == _texts(dataset) else None

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
        return min([*self._wake_at.values(), *tells], default=float("inf"))

    def _hold_back(self, dataset: _Dataset, outcome: Content | Problem, now: float, cost_seconds: float) -> None:
        """A dataset that changes all the time takes half of one core at most."""
        files = len(outcome.files) if isinstance(outcome, Content) else 1
        interval = self.interval_seconds * max(1.0, files / _FILES_AN_INTERVAL)
        dataset.paid_until = max(dataset.paid_until, now) + interval
        dataset.not_before = max(now + cost_seconds, dataset.paid_until - (BURST - 1) * interval)

    def _retry(self, dataset: _Dataset, outcome: Content | Problem, now: float) -> None:
        """Count again later what failed."""
        if isinstance(outcome, Content):
            dataset.failures = 0
        elif outcome.reason in _RETRIED:
            delay = min(_RETRY_SECONDS * 2.0**dataset.failures, _MAX_RETRY_SECONDS)
            dataset.failures = min(dataset.failures + 1, 16)
            self._wake_at[dataset.item.uid] = now + delay

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
        known = dataset.result.content if dataset.result else None
        return Ticket(uid, dataset.ticket, *dataset.source, known, bool(dataset.credential_name))

    def _next_ticket(self) -> int:
        self._tickets += 1
        return self._tickets


def _concluded(dataset: _Dataset, outcome: Content | Problem, wall: str) -> Result:
    """Return the result of a look that is over."""
    last, number = dataset.result, _last_number(dataset)
    if isinstance(outcome, Problem):
        return _result(dataset, number, not_counted(outcome), last.content if last else None)
    samples = outcome.samples
    is_same_number = last is not None and last.samples == samples
    update_time = last.update_time if last is not None and is_same_number else wall
    return _result(dataset, (samples, update_time, outcome.fingerprint()), counted(samples), outcome)


def _underway(dataset: _Dataset, run: _Run) -> Result:
    """Return what is said while a count goes on."""
    return _result(dataset, _last_number(dataset), counting(run.done, run.total), None)


_Number = tuple[int | None, str | None, str | None]


def _last_number(dataset: _Dataset) -> _Number:
    """Return the last number, when it changed and its fingerprint, unless it is that of another url or format."""
    last = dataset.result
    if last is None or (last.url, last.format) != _texts(dataset):
        return None, None, None
    return last.samples, last.update_time, last.fingerprint


def _result(dataset: _Dataset, number: _Number, condition: ConditionReport, content: Content | None) -> Result:
    url, format_ = _texts(dataset)
    samples, update_time, fingerprint = number
    return Result(dataset.item.generation, url, format_, samples, update_time, fingerprint, condition, content)


def _texts(dataset: _Dataset) -> tuple[str, str]:
    url, format_ = dataset.source
    return str(url), str(format_)
