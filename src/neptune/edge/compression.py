"""Reads `.gz` and `.zst` files as the data that is in them, in constant memory. The one door to zstd.

A file may hold several members or frames one after the other, as appending to it makes them (RFC 1952, section 2.2;
RFC 8878, section 3). Between two of them counting can be put away and go on.
Neighbours: `counting` feeds decoders; the name of a file alone decides.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Protocol

from neptune.edge.problems import Problem, Reason, shown

#: Bytes that a decoder gives at a time, however well they were packed.
_OUT_BYTES = 64 * 1024
#: For `zlib.decompressobj`: the data has a gzip header and trailer.
_GZIP = 16 + zlib.MAX_WBITS


class DamagedError(Exception):
    """The data is not what the name of its file says."""


class Decoder(Protocol):
    """Turns the bytes of a file into its data."""

    @property
    def is_whole(self) -> bool:
        """Whether the file may end here: outside of every member."""
        ...

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the data in what follows the bytes before.

        Raises:
            DamagedError: it is none of this kind.
        """
        ...


class Plain:
    """No compression."""

    is_whole = True

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data


class Gzip:
    """Members of gzip, with zero bytes between them, as tapes and `gzip` have it."""

    def __init__(self) -> None:
        self._inner: Any = None  # the type of zlib's object has no public name

    @property
    def is_whole(self) -> bool:
        return self._inner is None

    def feed(self, data: bytes) -> Iterator[bytes]:
        is_full = False
        while data or is_full:
            if self._inner is None:
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._inner = zlib.decompressobj(_GZIP)
            try:
                out = self._inner.decompress(data, _OUT_BYTES)
            except zlib.error as error:
                raise DamagedError(str(error)) from error
            if out:
                yield out
            is_full = len(out) == _OUT_BYTES and not self._inner.eof
            data = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
            if self._inner.eof:
                self._inner = None


class Zstd:
    """Frames of Zstandard, by the standard library of Python 3.14 or its backport."""

    def __init__(self, library: Any) -> None:  # either module, with the same names in it
        self._library = library
        self._inner: Any = None

    @property
    def is_whole(self) -> bool:
        return self._inner is None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data or (self._inner is not None and not self._inner.needs_input):
            if self._inner is None:
                self._inner = self._library.ZstdDecompressor()
            try:
                out = self._inner.decompress(data, _OUT_BYTES)
            except self._library.ZstdError as error:
                raise DamagedError(str(error)) from error
            if out:
                yield out
            data = b""
            if self._inner.eof:
                data, self._inner = self._inner.unused_data, None


def is_compressed(path: str) -> bool:
    """Tell whether the name of a file says that it is compressed."""
    return path.lower().endswith((".gz", ".zst"))


def find_decoder(path: str) -> Callable[[], Decoder] | Problem:
    """Return what makes decoders for a file of that name."""
    name = path.lower()
    if name.endswith(".gz"):
        return Gzip
    if not name.endswith(".zst"):
        return Plain
    try:
        library = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    except ImportError:
        remedy = "install the extra: pip install 'neptune-edge[zstd]', and start edge-agent again"
        return Problem(Reason.MISSING_LIBRARY, f"{shown(path)} needs a library for zstd: {remedy}")
    return lambda: Zstd(library)
