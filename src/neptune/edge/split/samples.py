"""The samples of a file as a lazy sequence, and its parts, slices and shards as such sequences.

Invariant: a sequence is a snapshot. Its length and its samples are those of the file when it was opened; a file that
grows meanwhile changes nothing, and one that was replaced, rewritten or cut is an error, not other samples. Memory is
constant, whatever the file's size: a sample costs one read of the index and one of the data.
A sequence may be used from several threads, survives a fork, and can be pickled: the other process opens the files
anew. That is what a PyTorch `DataLoader` asks of a map-style dataset.
Neighbours: `index` finds the samples, `parts` draws them.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from neptune.edge.formats import Format, Span, known_formats, load_format
from neptune.edge.paths import open_file
from neptune.edge.problems import Problem
from neptune.edge.split.index import IndexReader, Progress, bring_up_to_date, default_folder, ends_of, index_path
from neptune.edge.split.parts import Ratio, exact_ratios, positions
from neptune.errors import NeptuneError, SettingsError

#: Endings of names of files that can be read from their beginning only.
COMPRESSED = {".gz": "gunzip", ".zst": "unzstd"}


class SamplesUnreadable(NeptuneError):
    """The data cannot be opened, is no longer what was opened, or cannot be reached at random; the text says which."""


def format_of(path: str | os.PathLike[str]) -> str:
    """Return the format that the name of a file speaks of: its ending where that is a format's name, otherwise txt."""
    name = Path(path)
    name = name.with_suffix("") if name.suffix.lower() in COMPRESSED else name
    ending = name.suffix.removeprefix(".").lower()
    return ending if ending in known_formats() else "txt"


@dataclass(slots=True, weakref_slot=True)
class SampleFile:
    """A file and its index, opened when first needed.

    `dev`, `inode` and `size` are those of the snapshot, `ends` are digests of both ends of its bytes.
    """

    path: str
    index: Path
    rules: Format
    dev: int
    inode: int
    size: int
    samples: int
    ends: tuple[str, str]
    _opened: tuple[int, IndexReader] | None = field(default=None, compare=False, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        # Descriptors stay here: the other process opens the files itself.
        snapshot = self.dev, self.inode, self.size, self.samples, self.ends
        return SampleFile, (self.path, self.index, self.rules, *snapshot)

    def span(self, number: int) -> Span:
        """Return where a sample is in the file."""
        start, end = self._open()[1].span(number)
        # The last sample of the snapshot may have grown since, or be none: a CR that an LF followed.
        return Span(min(start, self.size), min(end, self.size))

    def read(self, span: Span) -> bytes:
        """Return the bytes of a sample.

        Raises:
            SamplesUnreadable: the file has become shorter.
        """
        data = os.pread(self._open()[0], span.end - span.start, span.start)
        if len(data) != span.end - span.start:
            raise SamplesUnreadable(f"{self.path} was cut after it was opened: open it again")
        return data

    @property
    def header(self) -> bytes:
        """What stands before the first sample, where the format has such a thing."""
        if not self.rules.has_header:
            return b""
        return self.read(Span(0, self.span(0).start if self.samples else self.size))

    def _open(self) -> tuple[int, IndexReader]:
        if self._opened is None:
            data = _opened(self.path)
            weakref.finalize(self, os.close, data)
            info = os.fstat(data)
            is_same = (info.st_dev, info.st_ino) == (self.dev, self.inode) and info.st_size >= self.size
            if not is_same or ends_of(data, self.size) != self.ends:
                raise SamplesUnreadable(f"{self.path} was replaced or rewritten after it was opened: open it again")
            index = os.open(self.index, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, index)
            self._opened = data, IndexReader(index)
        return self._opened


class Samples(Sequence[bytes]):
    """Samples of a file, in the order of the file: all of them, a part, a slice or a shard."""

    __slots__ = ("_chosen", "_file")

    def __init__(self, file: SampleFile, chosen: tuple[Sequence[int], ...]) -> None:
        """Use `open_samples`. Each of `chosen` holds places in the one before it; the first, numbers of samples."""
        self._file, self._chosen = file, chosen

    @property
    def file(self) -> SampleFile:
        """The file that the samples are in."""
        return self._file

    def __len__(self) -> int:
        return len(self._chosen[-1])

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Samples: ...
    def __getitem__(self, index: int | slice) -> bytes | Samples:
        if isinstance(index, slice):
            *others, last = self._chosen
            if isinstance(last, range):
                return Samples(self._file, (*others, last[index]))
            return self._choose(range(len(self))[index])
        return self._file.read(self.span(index))

    def __iter__(self) -> Iterator[bytes]:
        return (self._file.read(self._file.span(number)) for number in self.numbers())

    def numbers(self) -> Iterator[int]:
        """Give the number that each sample has in the file, from 0 on."""
        return (self._number(place) for place in range(len(self)))

    def span(self, index: int) -> Span:
        """Return where a sample is in the file.

        Raises:
            IndexError: there is no such sample.
        """
        return self._file.span(self._number(range(len(self))[index]))

    def shard(self, k: int, n: int) -> Samples:
        """Return every `n`-th sample from the `k`-th on, with `k` from 1 to `n`: what worker `k` of `n` works on.

        Shards are disjoint, cover everything, differ by one sample at most, and growth moves nothing between them.

        Raises:
            SettingsError: `k` is not from 1 to `n`.
        """
        if not 1 <= k <= n:
            raise SettingsError(f"there is no shard {k} of {n}: shards are 1/{max(n, 1)} to {max(n, 1)}/{max(n, 1)}")
        return self[k - 1 :: n]

    def split(self, ratios: Mapping[str, Ratio], *, seed: int = 0, contiguous: bool = False) -> dict[str, Samples]:
        """Return parts by name, as `parts` draws them; `split` beside it says more.

        Raises:
            SettingsError: the ratios make no whole.
        """
        found = positions(exact_ratios(ratios), len(self), seed=seed, contiguous=contiguous)
        return {name: self._choose(places) for name, places in found.items()}

    def _choose(self, places: Sequence[int]) -> Samples:
        return Samples(self._file, (*self._chosen, places))

    def _number(self, place: int) -> int:
        for places in reversed(self._chosen):
            place = places[place]
        return place


def open_samples(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    index_folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Samples:
    """Return the samples of a file as it is now. The first time, and after growth, this reads what is new.

    Args:
        path: a plain file; compressed ones cannot be read at random.
        format: how samples are told apart; by default what `format_of` says.
        index_folder: where the index is kept, 16 bytes a sample; by default `$XDG_CACHE_HOME/neptune/samples`.
        progress: is told how many bytes have been looked at, and of how many.

    Raises:
        SamplesUnreadable: the file cannot be opened or read, or it is compressed.
        SettingsError: there is no such format.
        IndexFailed: the index cannot be written, or the data not be read to its end.
    """
    real = os.path.realpath(path)
    if command := COMPRESSED.get(Path(real).suffix.lower()):
        raise SamplesUnreadable(f"{path} is compressed and has no random access: unpack it first, {command} {path}")
    name = (format or format_of(path)).lower()
    rules = load_format(name)
    if isinstance(rules, Problem):
        raise SettingsError(rules.message)
    data = _opened(real)
    try:
        info = os.fstat(data)
        index = index_path(Path(index_folder) if index_folder else default_folder(), real, name)
        header = bring_up_to_date(index, data, name, rules, progress)
    finally:
        os.close(data)
    file = SampleFile(
        real, index, rules, info.st_dev, info.st_ino, header.size, header.samples, (header.head, header.tail)
    )
    return Samples(file, (range(header.samples),))


def _opened(path: str) -> int:
    fd = open_file(path)
    if isinstance(fd, Problem):
        raise SamplesUnreadable(fd.finding)
    return fd
