"""The files of one node, in memory: what the agent's monitor reads, and what the truth is.

Invariant, as on a real disk: each write changes a file's identity. Neighbours: `edge.reader` is the port; `schedule`
writes the files, `judge` asks for the truth.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field

from neptune.edge.counting import Checkpoint, FileId, Look, Target
from neptune.edge.formats import Counter, find_format
from neptune.edge.paths import path_of
from neptune.edge.problems import Problem, problem_of

#: Read at a time, so that a file of a few lines takes several steps.
_BLOCK_BYTES = 16


@dataclass(slots=True)
class _File:
    content: bytes
    inode: int
    version: int

    @property
    def identity(self) -> FileId:
        return FileId(1, self.inode, len(self.content), self.version, self.version)


@dataclass(slots=True)
class Files:
    """A node's disk. Implements `edge.reader.Reader`."""

    _files: dict[str, _File] = field(default_factory=dict)
    _writes: int = 0

    def write(self, path: str, content: bytes) -> None:
        """Create the file, or replace it by another one."""
        self._writes += 1
        self._files[path] = _File(content, self._writes, self._writes)

    def change(self, path: str, content: bytes) -> None:
        """Change the file in place, or create it."""
        if path not in self._files:
            self.write(path, content)
            return
        self._writes += 1
        file = self._files[path]
        file.content, file.version = content, self._writes

    def read(self, path: str) -> bytes | None:
        """Return the content, or None when there is no such file."""
        file = self._files.get(path)
        return None if file is None else file.content

    def delete(self, path: str) -> None:
        """Delete the file if there is one."""
        self._files.pop(path, None)

    def truth(self, url: str, format_name: str) -> int | Problem:
        """Return how many samples there are, or why nobody can tell."""
        make_counter = find_format(format_name)
        if isinstance(make_counter, Problem):
            return make_counter
        content = self.read(url)
        if content is None:
            return _missing(url)
        counter = make_counter()
        counter.feed(content)
        return counter.samples

    def look(self, url: object, format_name: object, known: Checkpoint | None) -> Look:
        """See `Reader.look`."""
        path = path_of(url)
        if isinstance(path, Problem):
            return Look(None, path)
        found = find_format(format_name)
        if isinstance(found, Problem):
            return Look(None, found)
        file = self._files.get(path)
        if file is None:
            return Look(path, _missing(path))
        if known is not None and known.file == file.identity and known.format == format_name:
            return Look(path, known)
        return Look(path, Target(path, str(format_name)))

    def count(self, target: Target, known: Checkpoint | None) -> _Count:
        """See `Reader.count`; `known` is not built upon."""
        return _Count(self._files.get(target.path), target)


@dataclass(slots=True)
class _Count:
    """A pass over a file that may change meanwhile, as `counting.FileCount`."""

    file: _File | None
    target: Target
    seconds: float = 0.0
    _before: FileId | None = None
    _counter: Counter | None = None
    _offset: int = 0

    @property
    def progress(self) -> tuple[int, int]:
        return self._offset, self._before.size if self._before else 0

    def step(self, seconds: float) -> Checkpoint | Problem | None:
        """Count one block. None means that there is more."""
        if self.file is None:
            return _missing(self.target.path)
        if self._counter is None or self._before is None:
            make_counter = find_format(self.target.format)
            if isinstance(make_counter, Problem):
                return make_counter
            self._counter, self._before = make_counter(), self.file.identity
        block = self.file.content[self._offset : min(self._offset + _BLOCK_BYTES, self._before.size)]
        self._counter.feed(block)
        self._offset += len(block)
        if block and self._offset < self._before.size:
            return None
        state, samples = self._counter.state(), self._counter.samples
        return Checkpoint(self._before, self.target.format, self._offset, state, samples, "", "")

    def close(self) -> None:
        """Nothing is held."""


def _missing(path: str) -> Problem:
    return problem_of(FileNotFoundError(errno.ENOENT, "No such file or directory"), path)
