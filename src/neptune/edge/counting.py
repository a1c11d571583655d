"""Counts the samples of one file in one pass, from a checkpoint where that is proved right.

Invariant: a checkpoint speaks of the bytes that were read, under the identity that the file had before the reading
began. So a file that changed meanwhile differs from its checkpoint at the next look and is counted again, and the last
look after the last change has the right number.
Neighbours: `sources` opens, `compression` unpacks, `formats` counts, `proof` says when to go on. `counting_child` and
`monitor` run the steps; `looking` decides which files have to be counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from operator import index
from threading import Lock
from typing import Any, NamedTuple

from neptune.edge.compression import DamagedError, Decoder, find_decoder
from neptune.edge.formats import BUILT_IN, Counter, load_format
from neptune.edge.problems import Problem, Reason, problem_of, shown
from neptune.edge.proof import WHOLE_BYTES, Proof, Prover
from neptune.edge.sources import FileId, FileSource, Source

#: Bytes read at a time. Larger blocks leave the CPU's cache (pure Python: 1.6 s a GB at 1 MiB against 1.2 s), smaller
#: ones cost more calls.
BLOCK_BYTES = 128 * 1024
#: Kubernetes keeps the number as an int64.
_MAX_SAMPLES = 2**63 - 1


class Checkpoint(NamedTuple):
    """How far a file was counted, and what proves that those bytes are still the same.

    `format` and `state` are the counter's; `proof` speaks of the bytes of the file, packed as they may be.
    """

    file: FileId
    format: str
    state: tuple[int, ...]
    samples: int
    proof: Proof

    def to_json(self) -> list[Any]:
        """Return the form that is kept on disk and sent between processes."""
        return [self.file, self.format, self.state, self.samples, self.proof]

    @classmethod
    def from_json(cls, data: list[Any]) -> Checkpoint:
        """Read what `to_json` gave.

        Raises:
            TypeError, ValueError: it is something else.
        """
        file, format_, state, samples, proof = data
        return cls(FileId(*file), format_, tuple(state), samples, Proof(*proof))


class Target(NamedTuple):
    """A file that has to be counted: a resolved path, the name of a format, and what is known of it."""

    path: str
    format: str
    known: Checkpoint | None


@dataclass(slots=True)
class FileCount:
    """One pass over one file. Blocking: run `step` in a thread, one at a time. `close` may come at any moment."""

    target: Target
    #: How the file is opened; objects at urls are opened by `remote`.
    open_source: Callable[[str], Source | Problem] = FileSource.open
    #: Bytes that this pass has read.
    bytes_read: int = 0
    _source: Source | None = None
    _size: int = 0
    _decoder: Decoder = field(init=False)
    _counter: Counter = field(init=False)
    _prover: Prover = field(default_factory=Prover)
    #: What is left of the last block: packed, it may hold a gigabyte, which is more than a step should take.
    _pieces: Iterator[bytes] = field(default_factory=lambda: iter(()))
    _busy: Lock = field(default_factory=Lock)
    _is_dropped: bool = False

    @property
    def progress(self) -> tuple[int, int]:
        """Bytes counted so far, those of the checkpoint included, and bytes in all."""
        return self._prover.size, self._size

    def step(self, seconds: float) -> Checkpoint | Problem | None:
        """Count for about that long. None means that there is more.

        The first step opens the file, and goes on from the checkpoint when the file has only grown since. Reads no
        further than the size that the file had then, so a file that grows all the time comes to an end as well.
        """
        try:
            with self._busy:
                return self._read_until(time.monotonic() + seconds)
        except DamagedError as error:
            name = shown(self.target.path)
            return Problem(Reason.DAMAGED, f"{name} cannot be unpacked: {error}; write it again")
        except OSError as error:
            return problem_of(error, self.target.path)
        except Exception as error:
            if self.target.format in BUILT_IN:
                raise
            # A plug-in may raise anything.
            why = shown(f"{type(error).__name__}: {error}")
            return Problem(
                Reason.COUNTING_FAILED, f"the plug-in for {self.target.format!r} failed: {why}; trying again"
            )
        finally:
            if self._is_dropped:
                self.close()

    def close(self) -> None:
        """Let go of the file, at the end of the step when one is under way."""
        self._is_dropped = True
        if self._busy.acquire(blocking=False):
            if self._source is not None:
                self._source.close()
                self._source = None
            self._busy.release()

    def _read_until(self, deadline: float) -> Checkpoint | Problem | None:
        source = self._source or self._open()
        if isinstance(source, Problem):
            return source
        known = self.target.known
        if known is not None and (known.file, known.format) == (source.identity, self.target.format):
            return known
        while True:
            for data in self._pieces:
                self._counter.feed(data)
                if time.monotonic() >= deadline:
                    return None
            block = source.read(self._prover.size, min(BLOCK_BYTES, self._size - self._prover.size))
            if not block:
                break
            self._pieces = self._decoder.feed(block)
            self._prover.feed(block)
            self.bytes_read += len(block)
        if not self._decoder.is_whole:
            name = shown(self.target.path)
            return Problem(Reason.DAMAGED, f"{name} ends within its packed data; it is counted when it is complete")
        # Plug-ins are held to the port, so that nobody behind it has to be.
        state, samples = tuple(map(index, self._counter.state())), index(self._counter.samples)
        if not 0 <= samples <= _MAX_SAMPLES:
            raise ValueError(f"{samples} is no number of samples")
        return Checkpoint(source.identity, self.target.format, state, samples, self._prover.proof())

    def _open(self) -> Source | Problem:
        format_, make_decoder = load_format(self.target.format), find_decoder(self.target.path)
        if isinstance(format_, Problem):
            return format_
        if isinstance(make_decoder, Problem):
            return make_decoder
        source = self.open_source(self.target.path)
        if isinstance(source, Problem):
            return source
        self._source, self._size, self._decoder = source, source.identity.size, make_decoder()
        known = self.target.known
        tail = _tail_of_grown(source, known) if known and known.format == self.target.format else None
        if known is not None and tail is not None:
            try:
                self._counter, self._prover = format_.counter(known.state), Prover(known.proof, tail)
            except ValueError:  # a release of the format that kept another state
                tail = None
        if tail is None:
            self._counter = format_.counter()
        return source


def _tail_of_grown(source: Source, known: Checkpoint) -> bytes | None:
    """Return the last block of what was counted before, when the file has provably only grown since."""
    now, before = source.identity, known.proof.size
    if now.size <= max(before, WHOLE_BYTES) or (now.dev, now.inode) != (known.file.dev, known.file.inode):
        return None
    return known.proof.holds(source.read)
