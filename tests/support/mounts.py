"""Real mounts for tests of what file systems do: one that never answers, and one that is small."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.missing import missing

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2  # umount2(2)


@contextmanager
def hung_mount(folder: Path) -> Iterator[None]:
    """Mount a file system whose server takes every request and answers none; in the end all calls to it fail."""
    try:
        server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        missing(f"no FUSE here: {error.strerror}")
    try:
        _mount(folder, "fuse", f"fd={server},rootmode=40000,user_id=0,group_id=0")
    except BaseException:
        os.close(server)
        raise
    try:
        yield
    finally:
        os.close(server)
        _unmount(folder)


@contextmanager
def small_mount(folder: Path, *, kilobytes: int) -> Iterator[None]:
    """Mount a file system in memory that holds so much."""
    _mount(folder, "tmpfs", f"size={kilobytes}k")
    try:
        yield
    finally:
        _unmount(folder)


def _mount(folder: Path, kind: str, options: str) -> None:
    if _libc.mount(b"test", bytes(folder), kind.encode(), 0, options.encode()) != 0:
        missing(f"this user may not mount {kind}: {os.strerror(ctypes.get_errno())}")


def _unmount(folder: Path) -> None:
    assert _libc.umount2(bytes(folder), _MNT_DETACH) == 0, os.strerror(ctypes.get_errno())
