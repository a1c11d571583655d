"""Counts the samples of one file in one pass, from a checkpoint where that is proved right.

Invariant: a checkpoint speaks of the bytes that were read, under the identity that the file had before the reading
began. So a file that changed meanwhile differs from its checkpoint at the next look and is counted again, and the last
look after the last change has the right number.
Neighbours: `paths` opens the file, `formats` counts, `monitor` runs the steps in a thread and keeps the checkpoint.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from neptune.edge.formats import Counter, format_name, load_format
from neptune.edge.paths import open_file, resolve, stat_file
from neptune.edge.problems import Problem, problem_of

#: Bytes read at a time. Larger blocks leave the CPU's cache: 1.6 s a GB at 1 MiB against 1.2 s.
BLOCK_BYTES = 64 * 1024
#: Bytes at either end of what was read that prove it unchanged when the file has grown.
_PROOF_BYTES = 4096
#: The kernel stamps files with the time of its last timer tick, 10 ms apart at most (CONFIG_HZ=100). A file that was
#: changed less than two ticks before the look can change again and keep its stamps ("racy git" is the same trouble).
_RACY_NS = 20_000_000


class FileId(NamedTuple):
    """Two equal ones mean the same bytes, since each write moves `ctime_ns`."""

    dev: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, info: os.stat_result) -> FileId:
        return cls(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


_NO_FILE = FileId(0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a file was counted, and what proves that those bytes are still the same.

    `format` and `state` are the counter's; `offset` is in bytes; `head` and `tail` are digests of both ends of what
    was read.
    """

    file: FileId
    format: str
    offset: int
    state: tuple[int, ...]
    samples: int
    head: str
    tail: str


class Target(NamedTuple):
    """A file that has to be counted."""

    path: str
    format: str


class Look(NamedTuple):
    """What a look at a dataset found. `path` is where its file is, or should be; None when nothing says so."""

    path: str | None
    outcome: Problem | Checkpoint | Target


def look(url: object, format_: object, roots: Sequence[str], known: Checkpoint | None) -> Look:
    """Look at a dataset without reading its file: a problem, the checkpoint that still holds, or a file to count."""
    path = resolve(url, roots)
    if isinstance(path, Problem):
        return Look(None, path)
    name = format_name(format_)
    if isinstance(name, Problem):
        return Look(None, name)
    info = stat_file(path)
    if isinstance(info, Problem):
        return Look(path, info)
    if known is not None and known.file == FileId.of(info) and known.format == name:
        return Look(path, known)
    return Look(path, Target(path, name))


@dataclass(slots=True)
class FileCount:
    """One pass over one file. Blocking: run `step` in a thread, one at a time, and `close` in the end."""

    target: Target
    known: Checkpoint | None
    #: Bytes that this pass has read, and how long that took.
    bytes_read: int = 0
    seconds: float = 0.0
    _fd: int | None = None
    _before: FileId = _NO_FILE
    _counter: Counter = field(init=False)
    _offset: int = 0
    _head: bytes = b""
    _tail: bytes = b""

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes counted so far, those of the checkpoint included, and bytes in all."""
        return self._offset, self._before.size

    def step(self, seconds: float) -> Checkpoint | Problem | None:
        """Count for about that long. None means that there is more.

        The first step opens the file, and goes on from `known` when the file has only grown since. Reads no further
        than the size that the file had then, so a file that grows all the time comes to an end as well.
        """
        start = time.monotonic()
        try:
            return self._read_until(start + seconds)
        except OSError as error:
            return problem_of(error, self.target.path)
        finally:
            self.seconds += time.monotonic() - start

    def close(self) -> None:
        """Let go of the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _read_until(self, deadline: float) -> Checkpoint | Problem | None:
        fd = self._open() if self._fd is None else self._fd
        if isinstance(fd, Problem):
            return fd
        while block := os.read(fd, min(BLOCK_BYTES, self._before.size - self._offset)):
            self._counter.feed(block)
            self._remember(block)
            if time.monotonic() >= deadline:
                return None
        state, samples = self._counter.state(), self._counter.samples
        ends = _digest(self._head), _digest(self._tail)
        return Checkpoint(self._before, self.target.format, self._offset, state, samples, *ends)

    def _open(self) -> int | Problem:
        format_ = load_format(self.target.format)
        if isinstance(format_, Problem):
            return format_
        fd = open_file(self.target.path)
        if isinstance(fd, Problem):
            return fd
        self._fd, self._before = fd, _identity(fd)
        known = self.known
        ends = _proved(fd, self._before, known) if known and known.format == self.target.format else None
        if known is None or ends is None:
            self._counter = format_.counter()
        else:
            self._counter = format_.counter(known.state)
            self._offset = known.offset
            self._head, self._tail = ends
        return fd

    def _remember(self, block: bytes) -> None:
        self._offset += len(block)
        self.bytes_read += len(block)
        if len(self._head) < _PROOF_BYTES:
            self._head += block[: _PROOF_BYTES - len(self._head)]
        self._tail = (self._tail + block)[-_PROOF_BYTES:] if len(block) < _PROOF_BYTES else block[-_PROOF_BYTES:]


def _identity(fd: int) -> FileId:
    """Return the identity of an open file, spoilt when it may change without showing it."""
    now = time.time_ns()
    file = FileId.of(os.fstat(fd))
    return file._replace(ctime_ns=0) if abs(now - file.ctime_ns) < _RACY_NS else file


def _proved(fd: int, now: FileId, known: Checkpoint) -> tuple[bytes, bytes] | None:
    """Return both ends of what was counted before, and seek behind it, when the file has only grown since.

    Not seen: an edit in the middle of a file that has also grown since the last look. Only a full read would tell.
    """
    if now[:2] != known.file[:2] or now.size <= known.offset:
        return None
    length = min(_PROOF_BYTES, known.offset)
    head, tail = os.pread(fd, length, 0), os.pread(fd, length, known.offset - length)
    if (_digest(head), _digest(tail)) != (known.head, known.tail):
        return None
    os.lseek(fd, known.offset, os.SEEK_SET)
    return head, tail


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
