"""Where bytes come from: what has a size, an identity, and can be read at an offset.

Neighbours: `counting` reads; a source of another kind is one more class with this port.
"""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

from neptune.edge.paths import open_file
from neptune.edge.problems import Problem

#: The kernel stamps files with the time of its last timer tick, 10 ms apart at most (CONFIG_HZ=100). A file that was
#: changed less than two ticks before the look can change again and keep its stamps ("racy git" is the same trouble).
#: A file system of another machine has the clock of that machine, and there nobody can tell.
_RACY_NS = 20_000_000
#: The unit of st_blocks (inode(7)).
_STAT_BLOCK_BYTES = 512


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


class Source(Protocol):
    """Bytes that can be read at any offset. `identity` was taken before the first read. Blocking."""

    @property
    def identity(self) -> FileId: ...

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes, fewer only at the end.

        Raises:
            OSError: they cannot be read.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A regular file on this node. What was never written reads as zero bytes, and is not read."""

    fd: int
    identity: FileId
    is_sparse: bool

    @classmethod
    def open(cls, path: str) -> Self | Problem:
        """Open a resolved path. Waits until a change that its identity would not show is over, 20 ms at most.

        Raises:
            OSError: it could be opened and not looked at.
        """
        fd = open_file(path)
        if isinstance(fd, Problem):
            return fd
        info = os.fstat(fd)
        file = FileId.of(info)
        time.sleep(racy_seconds(file))
        return cls(fd, file, info.st_blocks * _STAT_BLOCK_BYTES < info.st_size)

    def read(self, offset: int, length: int) -> bytes:
        hole = min(length, self._hole(offset)) if self.is_sparse else 0
        data = os.pread(self.fd, length - hole, offset + hole) if hole < length else b""
        return bytes(hole) + data if hole else data

    def close(self) -> None:
        os.close(self.fd)

    def _hole(self, offset: int) -> int:
        """Return how many bytes from here to the next data, or to the end that the file had, were never written."""
        try:
            return os.lseek(self.fd, offset, os.SEEK_DATA) - offset
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data behind (lseek(2))
                return max(0, self.identity.size - offset)
            return 0


def racy_seconds(file: FileId) -> float:
    """Return how long something that was just looked at may yet change without showing it; 0 when it shows."""
    left = file.ctime_ns + _RACY_NS - time.time_ns()
    return left / 1e9 if 0 < left <= 2 * _RACY_NS else 0.0
