"""The files of one node, in memory: what the agent's monitor reads, and what the truth is.

Invariant, as on a real disk: each write changes a file's identity. Neighbours: `edge.reader` is the port; `schedule`
writes the files, `judge` asks for the truth.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from neptune.edge.counting import Checkpoint, Target
from neptune.edge.formats import BUILT_IN, format_name
from neptune.edge.looking import Content, Look, Work
from neptune.edge.paths import path_of
from neptune.edge.problems import Problem, problem_of
from neptune.edge.proof import Prover
from neptune.edge.reader import Found, Progress, Seen
from neptune.edge.schedule import Ticket
from neptune.edge.sources import FileId
from neptune.testing.simulation.loop import THREAD_SECONDS

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

    def when_answering(self, call: Callable[[], None]) -> None:
        """See `Reader.when_answering`: nothing hangs here."""

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

    def truth(self, url: str, format_: str) -> int | Problem:
        """Return how many samples there are, or why nobody can tell."""
        content = self.read(url)
        name = format_name(format_)
        if isinstance(name, Problem):
            return name
        return _missing(url) if content is None else _samples(name, content)[0]

    async def look(self, tickets: Sequence[Ticket]) -> list[Found]:
        """See `Reader.look`."""
        await asyncio.sleep(THREAD_SECONDS)
        return [Found(ticket, self._look(ticket), 0.0) for ticket in tickets]

    async def changed(self, seen: Sequence[Seen]) -> list[str]:
        """See `Reader.changed`: only another look can tell."""
        return [each.uid for each in seen]

    async def count(
        self, target: Target, progress: Progress, *, heavy: bool, credentials: Mapping[str, str] | None = None
    ) -> Checkpoint | Problem | None:
        """See `Reader.count`; what is known is not built upon. The file may change in the middle."""
        assert not heavy, "no file here is large"
        assert credentials is None, "no file here is locked"
        file = self._files.get(target.path)
        if file is None:
            return _missing(target.path)
        identity, content = file.identity, b""
        while block := file.content[len(content) : min(len(content) + _BLOCK_BYTES, identity.size)]:
            content += block
            progress(len(content), identity.size)
            await asyncio.sleep(THREAD_SECONDS)
        samples, state = _samples(target.format, content)
        prover = Prover()
        prover.feed(content)
        return Checkpoint(identity, target.format, state, samples, prover.proof())

    async def close(self) -> None:
        """Nothing is held."""

    def _look(self, ticket: Ticket) -> Look:
        path = path_of(ticket.url)
        if isinstance(path, Problem):
            return Look(path)
        name = format_name(ticket.format)
        if isinstance(name, Problem):
            return Look(name)
        file = self._files.get(path)
        if file is None:
            return Look(_missing(path))
        known = ticket.known.files.get(path) if ticket.known else None
        if known is not None and (known.file, known.format) == (file.identity, name):
            return Look(Content({path: known}))
        return Look(Work((Target(path, name, None),), {}, file.identity.size))


def _samples(name: str, content: bytes) -> tuple[int, tuple[int, ...]]:
    counter = BUILT_IN[name].counter(())
    counter.feed(content)
    return counter.samples, counter.state()


def _missing(path: str) -> Problem:
    return problem_of(FileNotFoundError(errno.ENOENT, "No such file or directory"), path)
