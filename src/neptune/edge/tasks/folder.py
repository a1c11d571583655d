"""The folder of one task on disk: `task.json` for the worker, `reports/` from it, `rejected/` for what is no use.

Flow: `open`, then `write` whenever the work changes; `names`, `read`, `discard` and `refuse` for reports; in the end
`withdraw` and `remove`. All blocking, one call at a time.
Guarantees: a worker sees a whole `task.json` or none, and `reports/` as long as there is one. Nothing is followed or
opened in `reports/` that is no regular file: who writes there may be another user.
Modes: a group may read the folder and write into `reports/`; others see nothing. The setgid bit is left alone, since
systemd's `RestrictSUIDSGID` refuses it.
Neighbours: `handover` calls it in a thread; `reports` understands the files, `ledger` sorts them out.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from neptune.edge.durable import whole
from neptune.edge.paths import open_file
from neptune.edge.problems import Problem, Reason
from neptune.edge.tasks.ledger import Batch, fold
from neptune.edge.tasks.reports import MAX_FILE_BYTES, parse
from neptune.edge.tasks.results import WorkResult
from neptune.protocol.messages import Json, WorkReport

TASK, REPORTS, REJECTED = "task.json", "reports", "rejected"
#: Rejected files that are kept for a person; each has the reason beside it.
MAX_REJECTED = 16
#: Of `task.json`: an order and the objects that it names have 64 KiB each.
_MAX_TASK_BYTES = 2**24
#: Longer names are cut in `rejected/`, where an ending is added (bytes; a file system takes 255).
_MAX_NAME_BYTES = 200
_FOLDER_MODE, _FILE_MODE, _REPORTS_MODE = 0o750, 0o640, 0o770
#: What becomes better or goes away by itself; other problems of a file are the worker's.
_PASSING = (Reason.NOT_FOUND, Reason.READ_FAILED)


class Folder:
    """`<state>/tasks/<namespace>/<name>/`. `path` has no symbolic links."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # What could neither be moved nor removed is not read again and again.
        self._stuck: set[str] = set()

    @property
    def reports(self) -> Path:
        """Where workers put their reports."""
        return self.path / REPORTS

    def open(self, uid: str) -> Json | None:
        """Return what `task.json` says, or None; what is there of another task is removed.

        Raises:
            OSError: the disk fails.
        """
        said = self._said()
        if said is None or said.get("uid") != uid:
            self.remove()
            return None
        return said

    def write(self, document: Json) -> None:
        """Let workers see this work.

        Raises:
            OSError: the disk is full or fails; what was there before stays.
        """
        for folder in (self.path.parent.parent, self.path.parent, self.path):
            _make(folder, _FOLDER_MODE)
        _make(self.reports, _REPORTS_MODE)
        with whole(self.path / TASK, self.path / f".{TASK}", opener=_creating) as file:
            file.write(json.dumps(document, indent=1).encode() + b"\n")

    def withdraw(self) -> None:
        """Let no worker take this work from now on."""
        (self.path / TASK).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything, `task.json` first.

        Raises:
            OSError: something cannot be removed.
        """
        with contextlib.suppress(NotADirectoryError):
            self.withdraw()
        if not os.path.lexists(self.path):
            return
        # Away under one name at once, so that a worker that still writes does not fill it again.
        aside = self.path.with_name(f".gone-{self.path.name}")
        _delete(aside)
        self.path.rename(aside)
        _delete(aside)
        with contextlib.suppress(OSError):  # other tasks of its namespace
            self.path.parent.rmdir()

    def is_whole(self) -> bool:
        """Tell whether what `write` made is still there."""
        return stat.S_ISREG(_mode(self.path / TASK)) and stat.S_ISDIR(_mode(self.reports))

    def names(self, limit: int) -> list[str]:
        """Return the names of reports in their order, `limit` at most; names that begin with a dot are not there yet.

        Raises:
            OSError: `reports/` cannot be read.
        """
        try:
            fd = os.open(self.reports, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return []
        try:
            there: set[str] = set()
            with os.scandir(fd) as entries:
                found = heapq.nsmallest(limit, self._usable((entry.name for entry in entries), there))
            self._stuck &= there
        finally:
            os.close(fd)
        return found

    def read(self, names: Iterable[str], uid: str, generation: int, last: WorkResult | None) -> Batch:
        """Read reports in this order; see `ledger.fold`."""
        found = ((name, self._report(name, uid, generation)) for name in names)
        return fold(((name, report) for name, report in found if report is not None), generation, last)

    def discard(self, names: Iterable[str]) -> None:
        """Remove reports that are done with, in this order."""
        for name in names:
            self._gone(name)

    def refuse(self, refused: Collection[tuple[str, str]]) -> None:
        """Keep the last of these, each with its reason, for who wrote the worker."""
        if not refused:
            return
        number = len(refused) - MAX_REJECTED
        for index, (name, reason) in enumerate(refused):
            if index < number or not self._moved(name, reason):
                self._gone(name)
        _keep_newest(self.path / REJECTED, 2 * MAX_REJECTED)

    def reset(self) -> None:
        """Remove every report: they are of a generation that is no more.

        Raises:
            OSError: `reports/` cannot be read.
        """
        while names := self.names(1000):
            self.discard(names)

    def _usable(self, names: Iterable[str], there: set[str]) -> Iterator[str]:
        for name in names:
            if name in self._stuck:
                there.add(name)
            elif not name.startswith("."):
                yield name

    def _said(self) -> Json | None:
        fd = open_file(str(self.path / TASK))
        if isinstance(fd, Problem):
            return None
        with os.fdopen(fd, "rb") as file:
            data = file.read(_MAX_TASK_BYTES)
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def _report(self, name: str, uid: str, generation: int) -> WorkReport | str | None:
        """Return a report, why it is none, or None where that may yet change."""
        report_id = name.removesuffix(".json")
        if report_id == name:
            return "its name does not end in .json"
        fd = open_file(str(self.reports / name))
        if isinstance(fd, Problem):
            return None if fd.reason in _PASSING else fd.message
        with os.fdopen(fd, "rb") as file:
            info = os.fstat(fd)
            if info.st_size > MAX_FILE_BYTES:
                return f"it has {info.st_size} bytes; at most {MAX_FILE_BYTES} are read"
            try:
                written = datetime.fromtimestamp(max(0, int(info.st_mtime)), UTC)
                return parse(report_id, file.read(MAX_FILE_BYTES + 1), uid, generation, written)
            except ValueError as error:
                return str(error)
            except OSError:
                return None

    def _moved(self, name: str, reason: str) -> bool:
        rejected = self.path / REJECTED
        raw = os.fsencode(name)
        kept = rejected / (name if len(raw) <= _MAX_NAME_BYTES else os.fsdecode(raw[:_MAX_NAME_BYTES]))
        try:
            _make(rejected, _FOLDER_MODE)
            _delete(kept)
            (self.reports / name).rename(kept)
            kept.with_name(f"{kept.name}.reason").write_text(f"{reason}\n", encoding="utf-8", errors="replace")
        except OSError:  # a disk that is full, or a folder of another user
            return False
        return True

    def _gone(self, name: str) -> None:
        try:
            _delete(self.reports / name)
        except OSError:
            self._stuck.add(name)


def others(root: Path, known: Collection[tuple[str, str]]) -> list[Path]:
    """Return the folders of tasks that are not `known` by namespace and name."""
    found: list[Path] = []
    with contextlib.suppress(OSError):
        for namespace in _folders(root):
            found += [path for path in _folders(namespace) if (namespace.name, path.name) not in known]
    return found


def _folders(path: Path) -> list[Path]:
    with os.scandir(path) as entries:
        return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]


def _make(folder: Path, mode: int) -> None:
    """Make a folder with exactly that mode, whatever the umask is; what is there instead, such as a link, goes."""
    if not stat.S_ISDIR(_mode(folder)):
        folder.unlink(missing_ok=True)
        folder.mkdir(mode=mode)
        folder.chmod(mode)


def _mode(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0


def _creating(path: str, flags: int) -> int:
    fd = os.open(path, flags | os.O_NOFOLLOW, _FILE_MODE)
    os.fchmod(fd, _FILE_MODE)
    return fd


def _delete(path: Path) -> None:
    """Remove whatever has that name, and nothing that a link leads to."""
    if stat.S_ISDIR(_mode(path)):
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _keep_newest(folder: Path, number: int) -> None:
    """Remove all but the newest entries; a change of name counts."""
    with contextlib.suppress(OSError):
        with os.scandir(folder) as entries:
            aged = [(entry.stat(follow_symlinks=False).st_ctime_ns, entry.name) for entry in entries]
        for _, name in heapq.nsmallest(len(aged) - number, aged):
            _delete(folder / name)
