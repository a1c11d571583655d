"""What a node remembers across restarts: desired objects, the last result of each, its epoch. One sqlite file.

A result is a number and its proof for a dataset, and a report of work for a task.

Invariants: what `save` has returned for is on the disk, unless `is_behind`; nothing is written when nothing changes;
one agent a state directory. What is here is a cache: the cloud has the objects and the data has the numbers, so a file
that cannot be used is moved aside, and a disk that is full costs the memory of a restart and nothing else.
Neighbours: `agent` calls it, in a thread, one call at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self

from neptune.edge.results import Result
from neptune.edge.tasks.results import WorkResult
from neptune.errors import SettingsError
from neptune.log import get_logger
from neptune.protocol.desired import Change
from neptune.protocol.messages import DesiredObject
from neptune.protocol.work import is_task

#: Of the tables below; another one is not read.
SCHEMA_VERSION = 2
#: How far the write-ahead log grows, give or take one change (pages of sqlite's default size).
_LOG_PAGES, _PAGE_BYTES = 64, 4096
_FILE, _LOCK, _ASIDE = "node.db", "lock", ".aside"
_TABLES = """
CREATE TABLE node (epoch INTEGER NOT NULL);
INSERT INTO node VALUES (0);
CREATE TABLE objects (
    uid TEXT PRIMARY KEY, kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    generation INTEGER NOT NULL, spec TEXT NOT NULL, hash TEXT NOT NULL, result TEXT
) WITHOUT ROWID;
"""
_PUT = """
INSERT INTO objects (uid, kind, namespace, name, generation, spec, hash) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (uid) DO UPDATE SET kind = excluded.kind, namespace = excluded.namespace, name = excluded.name,
    generation = excluded.generation, spec = excluded.spec, hash = excluded.hash
"""
_Statement = tuple[str, tuple[object, ...]]


class _Rank(IntEnum):
    """The order of writing: an object before the result that belongs to it."""

    EPOCH = 1
    OBJECT = 2
    RESULT = 3


_log = get_logger()


class _UnusableError(Exception):
    """The file is damaged, or of another version."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What the disk had at the start."""

    epoch: int
    objects: Mapping[str, DesiredObject]
    results: Mapping[str, Result | WorkResult]


class Store:
    """The state of one node in one directory. Blocking; used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        """Take the directory, which is made when it is missing.

        Raises:
            SettingsError: it cannot be made or written, or another agent uses it.
        """
        self._path = folder / _FILE
        self._lock = _locked(folder)
        self._connection: sqlite3.Connection | None = None
        # What is not written yet, by rank and uid, latest only: bounded by the number of objects.
        self._pending: dict[tuple[_Rank, str], _Statement] = {}
        self._is_behind_said = False
        self._epoch = 0

    @property
    def is_behind(self) -> bool:
        """Whether the disk lacks something; `save` tries again to write it."""
        return bool(self._pending)

    def load(self) -> Saved:
        """Return what was stored. Call it once, before `save`."""
        try:
            try:
                saved = self._read()
            except (_UnusableError, sqlite3.DatabaseError) as error:
                if _is_out_of_order(error):
                    raise
                self._move_aside(error)
                saved = self._read()
        except (sqlite3.Error, _UnusableError, OSError) as error:
            _log.error("state cannot be read", path=str(self._path), reason=str(error))
            saved = Saved(0, {}, {})
        self._epoch = saved.epoch
        return saved

    def next_epoch(self, now_ms: int) -> int:
        """Return an epoch above all earlier ones of this node, and keep it. `now_ms` is the time of day.

        Without a memory the time of day is the best guess; with one, a clock that went back does no harm.
        """
        self._epoch = max(self._epoch + 1, now_ms)
        self._pending[_Rank.EPOCH, ""] = ("UPDATE node SET epoch = ?", (self._epoch,))
        self._flush()
        return self._epoch

    def save(self, change: Change | None = None, results: Iterable[tuple[str, Result | WorkResult]] = ()) -> None:
        """Write objects and results in one transaction. A result whose object is unknown is dropped."""
        for item in change.stored if change else ():
            spec = json.dumps(item.spec)
            values = (item.uid, item.kind, item.namespace, item.name, item.generation, spec, item.hash)
            self._pending[_Rank.OBJECT, item.uid] = (_PUT, values)
        for uid in change.forgotten if change else ():
            self._pending[_Rank.OBJECT, uid] = ("DELETE FROM objects WHERE uid = ?", (uid,))
        for uid, result in results:
            text = json.dumps(result.to_json())
            self._pending[_Rank.RESULT, uid] = ("UPDATE objects SET result = ? WHERE uid = ?", (text, uid))
        self._flush()

    def close(self) -> None:
        """Write what can be written, and let another agent have the directory."""
        self._flush()
        self._disconnect()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _flush(self) -> None:
        if not self._pending:
            return
        try:
            connection = self._connected()
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for key in sorted(self._pending):
                    connection.execute(*self._pending[key])
        except (sqlite3.Error, _UnusableError) as error:
            self._disconnect()
            self._say_behind(error)
            if not _is_out_of_order(error):
                self._begin_anew(error)
            return
        self._pending.clear()
        self._say_caught_up()

    def _read(self) -> Saved:
        connection = self._connected()
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            raise _UnusableError(f"damaged: {verdict}")
        epoch = connection.execute("SELECT epoch FROM node").fetchone()
        objects: dict[str, DesiredObject] = {}
        results: dict[str, Result | WorkResult] = {}
        try:
            for kind, namespace, name, uid, generation, spec, hash_, result in connection.execute(
                "SELECT kind, namespace, name, uid, generation, spec, hash, result FROM objects"
            ):
                item = DesiredObject(kind, namespace, name, uid, generation, json.loads(spec), hash_)
                objects[item.uid] = item
                if result is not None:
                    form = WorkResult if is_task(kind) else Result
                    results[item.uid] = form.from_json(json.loads(result))
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise _UnusableError(f"damaged: {error!r}") from error
        return Saved(epoch[0] if epoch else 0, objects, results)

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            try:
                _prepare(connection)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _move_aside(self, error: Exception) -> None:
        """Keep one unusable file for a person to look at, and make room for a usable one."""
        self._disconnect()
        for suffix in ("-wal", "-shm", ""):
            path = Path(f"{self._path}{suffix}")
            if path.exists():
                path.replace(Path(f"{self._path}{_ASIDE}{suffix}"))
        _log.error("state moved aside", path=f"{self._path}{_ASIDE}", reason=str(error), next="starting with none")

    def _begin_anew(self, error: Exception) -> None:
        """Let the next save write to a new file; what the cloud desires besides comes again after a restart."""
        try:
            self._move_aside(error)
        except OSError:  # the disk fails as well, and `save` will be told again
            return
        self._pending[_Rank.EPOCH, ""] = ("UPDATE node SET epoch = ?", (self._epoch,))

    def _say_behind(self, error: Exception) -> None:
        if not self._is_behind_said:
            self._is_behind_said = True
            _log.error("state not stored", path=str(self._path), reason=str(error), next="going on in memory")

    def _say_caught_up(self) -> None:
        if self._is_behind_said:
            self._is_behind_said = False
            _log.info("state stored again", path=str(self._path))


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA busy_timeout = 2000")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, SCHEMA_VERSION):
        raise _UnusableError(f"schema version {version}; this agent uses {SCHEMA_VERSION}")
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL would sync at checkpoints only, and a power cut take back what the cloud was told is stored; in WAL mode
    # FULL adds the sync of each commit (https://www.sqlite.org/pragma.html#pragma_synchronous).
    connection.execute("PRAGMA synchronous = FULL")
    # Else the log alone takes 4 MiB, and on a disk that it fills there is no room to take it back.
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * _PAGE_BYTES}")
    if version == 0:
        connection.executescript(f"BEGIN; {_TABLES}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")


def _is_out_of_order(error: Exception) -> bool:
    """Tell a disk that fails (full, read-only, I/O error) from a file that is no good."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode != sqlite3.SQLITE_ERROR


def _locked(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise SettingsError(
            f"state directory {folder} cannot be used: {error.strerror}; make it writable for the agent, "
            "or give another --state-dir"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise SettingsError(
            f"state directory {folder} is in use by another agent: give each agent its own --state-dir"
        ) from error
    return lock


def stored_uids(directory: Path) -> set[str]:
    """Return the uids of the objects on disk, beside a running agent if need be; none before it first stored any."""
    path = directory / _FILE
    if not path.exists():
        return set()
    with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
        return {uid for (uid,) in database.execute("SELECT uid FROM objects")}
