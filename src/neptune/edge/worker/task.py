"""A task as its worker holds it: what `task.json` says, the samples, and the four things that can be said of it.

Invariant: nothing is reported for a task that the cloud took away or changed, nor after the last word.
Neighbours: `reports` writes, `protocol.work` says what a report may hold, `split` gives the samples.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from neptune.edge.paths import path_of
from neptune.edge.problems import Problem
from neptune.edge.split import Samples, SamplesUnreadable, open_samples
from neptune.edge.worker.reports import Reports
from neptune.errors import NeptuneError, SettingsError
from neptune.protocol.messages import WorkReport
from neptune.protocol.work import COMPLETED, FAILED, MAX_MESSAGE, RUNNING, check, metric_text

#: Names the folder of the task; `edge-agent --task-command` sets it.
FOLDER_VARIABLE = "NEPTUNE_TASK"
VERSION = 1
#: How often `task.json` is looked for (seconds): a stat costs microseconds, and a task comes seldom.
_POLL_SECONDS = 0.1

#: Values by name; a number of Python or of numpy, or a text.
Metrics = Mapping[str, object]


class TaskUnreadable(NeptuneError):
    """What the agent wrote is nothing that this version reads; the text says what is wrong."""


class TaskOver(NeptuneError):
    """There is nothing left to report on: the cloud took the task away or changed it, or its last word was said."""


class ReportNotWritten(NeptuneError):
    """The folder does not take the report; the text holds the system's reason."""


@dataclass(frozen=True, slots=True)
class TaskModel:
    """A model that the task works on: where it is and in which format, by its `spec` in Kubernetes."""

    name: str
    url: str
    format: str


@dataclass(frozen=True, slots=True)
class TaskDataset:
    """Data of this node that the task works on. `samples` is how many the agent has counted, None before it has."""

    name: str
    url: str
    format: str
    samples: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Part:
    """Which of the nodes that work on the task this is: the one with number `index`, from 0 on, of `of`."""

    index: int
    of: int


@dataclass(frozen=True, slots=True)
class Task:
    """A task as it was taken; `wait_for_task` makes one. As a context manager it turns an exception into `fail`.

    `generation` counts the edits of the task in Kubernetes. `roles` holds `participant`, `aggregator` or both; `part`
    is None for who is no participant. `work` is what the kind of the task has to say, the user's `parameters` among it.
    """

    folder: Path
    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    node: str
    roles: tuple[str, ...]
    part: Part | None
    work: Mapping[str, Any]
    models: tuple[TaskModel, ...]
    datasets: tuple[TaskDataset, ...]
    _reports: Reports = field(compare=False, repr=False)

    @property
    def parameters(self) -> Mapping[str, str]:
        """The `parameters` of the task's spec; empty where it has none."""
        found: Mapping[str, str] = self.work.get("parameters", {})
        return found

    def samples(self, dataset: str | None = None) -> Samples:
        """Return the samples of one of the task's datasets, as they are now; `Samples` has parts of them and shards.

        The first time, and after growth, this reads what is new in the file. The index is kept in the task's folder,
        and where only `reports/` of it may be written, as `open_samples` does.

        Args:
            dataset: its name; may be left out where the task has one dataset on this node.

        Raises:
            ValueError: the task has no such dataset here, or several and none was named.
            SamplesUnreadable: the dataset is no plain file of this node that can be read at random.
            SettingsError: its format is unknown on this node.
            IndexFailed: the index cannot be written, or the data not be read to its end.
        """
        found = [each for each in self.datasets if dataset in (None, each.name)]
        if len(found) != 1:
            names = ", ".join(each.name for each in self.datasets) or "none"
            raise ValueError(f"name one dataset of task {self.name} on node {self.node}, which has {names}")
        path = path_of(found[0].url)
        if isinstance(path, Problem):
            raise SamplesUnreadable(f"dataset {found[0].name} is no plain file of node {self.node}: {path.message}")
        index = self.folder / "index" if os.access(self.folder, os.W_OK) else None
        return open_samples(path, found[0].format, index_folder=index)

    def report(
        self,
        metrics: Metrics | None = None,
        *,
        progress: float | None = None,
        samples: int | None = None,
        message: str = "",
    ) -> None:
        """Say how far the work is. As often as you like: what nobody has read is replaced, not added to.

        Args:
            metrics: values so far; at most 256, finite where they are numbers.
            progress: percent done, from 0 to 100; parts of a percent are cut off.
            samples: how many samples the work uses.
            message: a word for a person, up to 1024 characters.

        Raises:
            ValueError: one of them cannot be reported; the text says which and why.
            TaskOver: nobody waits for it any more.
            ReportNotWritten: the folder does not take it.
        """
        self._say(RUNNING, metrics, progress, samples, message)

    def complete(self, metrics: Metrics | None = None, *, samples: int | None = None, message: str = "") -> None:
        """Say that the work is done, and what came of it. It is the last word.

        Args:
            metrics, samples, message: as of `report`; where nobody aggregates, metrics are weighted by `samples`.

        Raises:
            ValueError, TaskOver, ReportNotWritten: as `report`.
        """
        self._say(COMPLETED, metrics, 100, samples, message)

    def fail(self, reason: str) -> None:
        """Say that the work cannot be done, and why, cut to 1024 characters. It is the last word.

        Raises:
            TaskOver, ReportNotWritten: as `report`.
        """
        text = reason.replace("\0", "?").encode("utf-8", "replace").decode()
        self._say(FAILED, None, None, None, text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 3] + "...")

    def is_over(self) -> bool:
        """Tell whether nobody waits for this work: the last word was said, or `task.json` is gone or another."""
        if self._reports.closed:
            return True
        try:
            return _read(self.folder) != self
        except TaskUnreadable:
            return True

    def raise_if_over(self) -> None:
        """Do nothing while somebody waits for this work.

        Raises:
            TaskOver: nobody does.
        """
        if self.is_over():
            raise TaskOver(
                f"task {self.namespace}/{self.name} is over: it was completed, failed, changed or taken away"
            )

    def wait_until_over(self, timeout: float | None = None) -> bool:
        """Wait until `task.json` is gone or another, and tell whether it is.

        For a process that takes one task after another: what it has completed stays in the folder until all nodes have.
        `timeout` is in seconds; None waits for ever.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (found := _read(self.folder)) == self:
            if end is not None and time.monotonic() >= end:
                return False
            time.sleep(_POLL_SECONDS)
        return found != self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not for a signal: who stops a worker may start it again.
        if isinstance(error, Exception) and not isinstance(error, TaskOver):
            with contextlib.suppress(TaskOver):
                self.fail(f"{type(error).__name__}: {error}")

    def _say(
        self, state: str, metrics: Metrics | None, progress: float | None, samples: int | None, message: str
    ) -> None:
        self.raise_if_over()
        try:
            work = WorkReport(
                id=self._reports.next_id(),
                state=state,
                time=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                progress=_whole("progress", progress),
                samples=_whole("samples", samples),
                metrics={name: _text(name, value) for name, value in (metrics or {}).items()},
                message=message,
            )
            check(work)
            self._reports.write(self.uid, self.generation, work)
        except OSError as error:
            self.raise_if_over()
            raise ReportNotWritten(f"{self._reports.folder} does not take a report: {error.strerror}") from error


def wait_for_task(folder: str | os.PathLike[str] | None = None, timeout: float | None = None) -> Task:
    """Return the task in `folder` as soon as one is there.

    Args:
        folder: `<state>/tasks/<namespace>/<name>` of the agent; by default that of `NEPTUNE_TASK`. It may come later.
        timeout: how long to wait, in seconds; None waits for ever.

    Raises:
        SettingsError: no folder is named, or it is none.
        TimeoutError: no task came in time.
        TaskUnreadable: there is one, which this version cannot read.
    """
    named = folder or os.environ.get(FOLDER_VARIABLE)
    if not named:
        raise SettingsError(f"no task folder is named: set {FOLDER_VARIABLE} to <state>/tasks/<namespace>/<name>")
    where = Path(named)
    end = None if timeout is None else time.monotonic() + timeout
    while (task := _read(where)) is None:
        if where.exists() and not where.is_dir():
            raise SettingsError(f"{where} is no folder: {FOLDER_VARIABLE} names <state>/tasks/<namespace>/<name>")
        if end is not None and time.monotonic() >= end:
            raise TimeoutError(f"no task in {where} after {timeout:g} s: is the agent running, and has it this task?")
        time.sleep(_POLL_SECONDS)
    return task


def _read(folder: Path) -> Task | None:
    """Return the task in `folder`, None when there is none.

    Raises:
        TaskUnreadable: there is one, which this version cannot read.
    """
    try:
        text = (folder / "task.json").read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise TaskUnreadable(f"{folder / 'task.json'} cannot be read: {error.strerror}") from error
    try:
        return _parse(folder, json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise TaskUnreadable(f"{folder / 'task.json'} is no task of version {VERSION}: {error!r}") from error


def _parse(folder: Path, found: dict[str, Any]) -> Task:
    if found["version"] != VERSION:
        raise ValueError(f"it has version {found['version']}; use the neptune of the agent that wrote it")
    part = found["part"]
    return Task(
        folder=folder,
        kind=found["kind"],
        namespace=found["namespace"],
        name=found["name"],
        uid=found["uid"],
        generation=found["generation"],
        node=found["node"],
        roles=tuple(found["roles"]),
        part=part and Part(part["index"], part["of"]),
        work=found["work"],
        models=tuple(TaskModel(each["name"], each["url"], each["format"]) for each in found["models"]),
        datasets=tuple(
            TaskDataset(each["name"], each["url"], each["format"], each.get("samples")) for each in found["datasets"]
        ),
        _reports=Reports(folder / "reports"),
    )


def _whole(what: str, value: float | None) -> int | None:
    try:
        return None if value is None else int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{what} is {value!r}, which is no number") from error


def _text(name: str, value: object) -> str:
    try:
        return metric_text(value)
    except ValueError as error:
        raise ValueError(f"metric {name!r}: {error}") from error
