"""Where each sample of a file is: a file of byte offsets, made once, continued when the data has grown.

Layout: a header of `HEADER_BYTES`, which is JSON padded with spaces, then for each sample its start and its end as
little-endian 64-bit integers. So a look costs one read of 16 bytes, and nothing of the index is in memory. It is read,
not mapped: a file that another process shortens under a map would kill the reader.

Invariant: entries that a header speaks of are right and stay. A build goes to a new file that is renamed, so whoever
reads the old one goes on; growth is appended and the header is written last, so a crash costs the work and no truth.
The entry of the last sample alone may be written anew, since that sample may have grown: its start stays, unless it
was a lone CR that an LF has made a blank line.
Neighbours: `formats` tells samples apart, `samples` reads them.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import struct
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from neptune.edge.formats import Format, Span
from neptune.edge.proof import WHOLE_BYTES
from neptune.edge.sources import FileId, racy_seconds
from neptune.errors import NeptuneError

#: Bytes that have been looked at, and bytes in all.
Progress = Callable[[int, int], None]

HEADER_BYTES = 512
_VERSION = 1
_ENTRY = struct.Struct("<QQ")
_BLOCK_BYTES = 64 * 1024
#: Entries that are gathered before they are written (1 MB).
_BATCH = 64 * 1024
#: Bytes at either end of the data that prove it unchanged when it has grown.
_PROOF_BYTES = 4096


class IndexFailed(NeptuneError):
    """The index cannot be written or read; the text says where it would be and what to do."""


@dataclass(frozen=True, slots=True)
class Header:
    """What an index speaks of: `samples` in the first `size` bytes of `file`, by the rules of `format`."""

    format: str
    file: FileId
    size: int
    samples: int
    head: str
    tail: str
    version: int = _VERSION

    def pack(self) -> bytes:
        return json.dumps(asdict(self)).encode().ljust(HEADER_BYTES)

    @classmethod
    def unpack(cls, data: bytes) -> Header | None:
        """Read what `pack` gave; None when it is something else, or of another version."""
        try:
            found: dict[str, Any] = json.loads(data)
            header = cls(**{**found, "file": FileId(*found["file"])})
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        return header if header.version == _VERSION and header.samples >= 0 else None


def default_folder() -> Path:
    """Return the folder of indexes: the data's own may be read-only, and is watched by agents."""
    base = os.environ.get("XDG_CACHE_HOME", "")  # the XDG Base Directory Specification: relative ones are ignored
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "neptune" / "samples"


def index_path(folder: Path, path: str, format_name: str) -> Path:
    """Return where the index of the file `path` is."""
    digest = hashlib.sha256(os.fsencode(path) + b"\0" + format_name.encode()).hexdigest()
    return folder / f"{digest[:32]}.index"


def bring_up_to_date(
    index: Path, data: int, format_name: str, rules: Format, progress: Progress | None = None
) -> Header:
    """Make the index true of the open file `data` as it is now, and return its header.

    A file that did not change is not read, and one above 1 MiB that only grew is read from its last sample on. An edit
    in the middle of such a file that has also grown is not seen: only a full read would tell.

    Raises:
        IndexFailed: the index cannot be written, or the data not be read.
    """
    try:
        with _locked(index):
            now = _identity(data)
            known = _read_header(index)
            build = _Build(data, now, format_name, rules, progress)
            if known is None or known.format != format_name:
                return build.anew(index)
            if known.file == now:
                return known
            return build.extend(index, known) if _only_grew(data, known, now) else build.anew(index)
    except OSError as error:
        raise IndexFailed(
            f"cannot make the index of the samples in {index.parent}: {error.strerror}; give another index folder"
        ) from error


class IndexReader:
    """Reads entries. Safe in threads and across fork: it never moves the descriptor's place."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def span(self, number: int) -> Span:
        """Return where the sample is.

        Raises:
            IndexFailed: the index ends before it.
        """
        entry = os.pread(self._fd, _ENTRY.size, HEADER_BYTES + number * _ENTRY.size)
        if len(entry) != _ENTRY.size:
            raise IndexFailed("the index was cut short by another program: open the data again")
        return Span(*_ENTRY.unpack(entry))


def _identity(fd: int) -> FileId:
    """Return the identity of an open file once a change that it would not show is over."""
    file = FileId.of(os.fstat(fd))
    time.sleep(racy_seconds(file))
    return file


def _read_header(index: Path) -> Header | None:
    try:
        with index.open("rb") as file:
            header = Header.unpack(file.read(HEADER_BYTES))
            whole = os.fstat(file.fileno()).st_size >= HEADER_BYTES + (header.samples if header else 0) * _ENTRY.size
    except FileNotFoundError:
        return None
    return header if whole else None


def _only_grew(data: int, known: Header, now: FileId) -> bool:
    # Up to that size the whole is read again, as in counting: no proof is better.
    has_grown = now[:2] == known.file[:2] and now.size > max(known.size, WHOLE_BYTES)
    return has_grown and ends_of(data, known.size) == (known.head, known.tail)


def ends_of(data: int, size: int) -> tuple[str, str]:
    """Return digests of both ends of the first `size` bytes of an open file."""
    length = min(_PROOF_BYTES, size)
    head, tail = os.pread(data, length, 0), os.pread(data, length, size - length)
    return hashlib.blake2b(head, digest_size=16).hexdigest(), hashlib.blake2b(tail, digest_size=16).hexdigest()


@dataclass(slots=True)
class _Build:
    """One pass over the data, up to the size that it had when it was looked at."""

    data: int
    now: FileId
    format_name: str
    rules: Format
    progress: Progress | None

    def anew(self, index: Path) -> Header:
        fd, name = tempfile.mkstemp(dir=index.parent, prefix=f".{index.name}.")
        try:
            header = self._fill(fd, 0, 0)
            Path(name).replace(index)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
        return header

    def extend(self, index: Path, known: Header) -> Header:
        fd = os.open(index, os.O_RDWR | os.O_CLOEXEC)
        try:
            first = max(0, known.samples - 1)
            start = IndexReader(fd).span(first).start if known.samples else 0
            return self._fill(fd, first, start)
        finally:
            os.close(fd)

    def _fill(self, fd: int, samples: int, offset: int) -> Header:
        """Write the entries from the sample `samples` on, which starts at `offset`, and the header."""
        place = HEADER_BYTES + samples * _ENTRY.size
        batch = array("Q")
        spans = self.rules.samples(self._blocks(offset), offset)
        for span in spans:
            batch.extend(span)
            samples += 1
            if len(batch) >= 2 * _BATCH:
                place += _write(fd, batch, place)
                del batch[:]
        _write(fd, batch, place)
        header = Header(self.format_name, self.now, self.now.size, samples, *ends_of(self.data, self.now.size))
        os.fdatasync(fd)
        os.pwrite(fd, header.pack(), 0)
        return header

    def _blocks(self, offset: int) -> Iterator[bytes]:
        while offset < self.now.size and (
            block := os.pread(self.data, min(_BLOCK_BYTES, self.now.size - offset), offset)
        ):
            offset += len(block)
            if self.progress is not None:
                self.progress(offset, self.now.size)
            yield block


def _write(fd: int, batch: array[int], place: int) -> int:
    if sys.byteorder == "big":
        batch = array("Q", batch)
        batch.byteswap()
    data = memoryview(batch).cast("B")
    done = 0
    while done < len(data):
        done += os.pwrite(fd, data[done:], place + done)
    return done


@contextlib.contextmanager
def _locked(index: Path) -> Iterator[None]:
    """Hold off other builders of this index; one that waited finds the work done."""
    index.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(index.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
