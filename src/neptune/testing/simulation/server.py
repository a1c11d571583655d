"""The API server in the same process, and the ways in which it fails those who ask.

The server is `embedded.apiserver.ApiServer`. What is added: requests take time; the server may be away, busy or refuse,
or take a write and lose the answer; watches break, fall silent and find their history gone; a backup may be restored.
Neighbours: `InProcess` is what a `runtime.Client` talks through; `schedule` makes the trouble.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from neptune.api import Dataset, FederatedTask, Model
from neptune.api.crd import crd_for
from neptune.embedded.apiserver import ApiServer, Request, Response, Watch
from neptune.embedded.apiserver.store import Snapshot
from neptune.runtime.errors import ApiError, ApiUnreachable, error_for
from neptune.runtime.session import Observer
from neptune.testing.simulation.loop import Process, VirtualClock

_WAY_SECONDS = 0.002
#: kube-apiserver sends bookmarks about once a minute.
_BOOKMARK_SECONDS = 60.0
_JSON = "application/json"
#: Writes of other programs in the time for which a backup is old: so many that their revisions are not reached again
#: before every watcher has looked which one the server is at.
_OTHER_WRITES = 10_000
#: The recommended `--bump-revision`: more than were written since the backup (etcd.io, "Disaster recovery").
_BUMP = 1_000_000_000


@dataclass(slots=True)
class Trouble:
    """The shares of requests that never arrive, whose answer is lost, and that are refused with one of `codes`."""

    unsent: float = 0.0
    unanswered: float = 0.0
    refused: float = 0.0
    codes: tuple[int, ...] = (500, 503, 429, 504)
    #: The share of writes that meet a conflict which the client could not know of.
    conflicts: float = 0.0


@dataclass(eq=False, slots=True)
class _Stream:
    """A watch being answered."""

    watch: Watch
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_broken: bool = False
    is_silent: bool = False


class Host:
    """Runs the server; all clients go through here."""

    def __init__(self, clock: VirtualClock, rng: Random) -> None:
        self.core = ApiServer(clock.now(), random=Random(rng.random()))  # noqa: S311  # a schedule, no secret
        self.trouble = Trouble()
        self.is_away = False
        #: Programs that cannot reach the server, by name.
        self.cut_off: dict[str, None] = {}
        #: Called with each object whose status was just written through here.
        self.on_status: Callable[[Any], None] = lambda written: None
        self._clock = clock
        self._rng = rng
        self._streams: dict[_Stream, None] = {}

    def install(self) -> None:
        """Let there be our kinds."""
        for cls in (Dataset, Model, FederatedTask):
            self.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", crd_for(cls))

    def ask(self, method: str, path: str, body: Any = None, content_type: str = _JSON) -> Any:
        """Ask as an administrator whom no trouble meets.

        Raises:
            ApiError: the server refused.
        """
        data = b"" if body is None else json.dumps(body).encode()
        answer = self.core.handle(Request(method, path, body=data, content_type=content_type), self._clock.now())
        assert isinstance(answer, Response)
        if answer.code >= 300:
            raise error_for(answer.code, json.dumps(answer.body).encode())
        return answer.body

    def cut(self) -> None:
        """Break every watch."""
        for stream in self._streams:
            stream.is_broken = True
            stream.news.set()

    def silence(self) -> None:
        """Let every watch fall silent: the connection stands, and nothing comes any more."""
        for stream in self._streams:
            stream.is_silent = True

    def compact(self) -> None:
        """Forget the history, so that a watch that broke has to list again."""
        self.core.compact(self.core.revision)

    def handle(self, request: Request) -> Response | Watch:
        """Answer, or fail as the trouble of the moment has it.

        Raises:
            ApiError: it failed.
        """
        trouble, chance = self.trouble, self._rng.random()
        if self.is_away or chance < trouble.unsent:
            raise _unreachable()
        if chance < trouble.unsent + trouble.refused:
            raise error_for(self._rng.choice(trouble.codes), b"")
        if request.method in ("PUT", "PATCH") and self._rng.random() < trouble.conflicts:
            raise error_for(409, b'{"reason": "Conflict"}')
        answer = self.core.handle(request, self._clock.now())
        if request.path.endswith("/status") and isinstance(answer, Response) and answer.code == 200:
            self.on_status(answer.body)
        return answer

    def calm(self) -> None:
        """End all trouble."""
        self.trouble = Trouble()
        self.is_away = False
        self.cut_off.clear()

    def back_up(self) -> Snapshot:
        """Return the state of now, for `restore`. The cluster's other writes are then many, and bookmarks tell so."""
        backup = self.core.snapshot()
        self.core.skip(_OTHER_WRITES)
        for stream in self._streams:
            stream.watch.stream.bookmark()
        return backup

    def restore(self, backup: Snapshot, *, bump: bool) -> None:
        """Put an earlier state in the place of this one; the server restarts.

        With `bump` revisions go on above all that were, as etcd's manual has it; else they go back.
        """
        self.cut()
        self.core.restore(backup, bump_revision=_BUMP if bump else 0)

    def is_answer_lost(self) -> bool:
        """Tell whether the answer to what was just handled gets lost."""
        return self._rng.random() < self.trouble.unanswered

    @asynccontextmanager
    async def watching(self, watch: Watch, idle_seconds: float) -> AsyncIterator[AsyncIterator[bytes]]:
        """Give the lines of a watch."""
        stream = _Stream(watch)
        self._streams[stream] = None
        watch.stream.on_event = stream.news.set
        try:
            async with aclosing(self._lines(stream, idle_seconds)) as lines:
                yield lines
        finally:
            self._streams.pop(stream, None)
            watch.stream.close()

    async def _lines(self, stream: _Stream, idle_seconds: float) -> AsyncGenerator[bytes, None]:
        loop, watch = asyncio.get_running_loop(), stream.watch
        end, heard = loop.time() + (watch.timeout_seconds or 1800.0), loop.time()
        while True:
            stream.news.clear()
            if stream.is_silent and not stream.is_broken:
                await self._keep_silent(stream, heard + idle_seconds)
            if stream.is_broken or self.is_away:
                raise _unreachable()
            events = watch.take(self._clock.now())
            for event in events:
                heard = loop.time()
                yield json.dumps(event).encode()
            if events:
                continue
            if watch.stream.ended or loop.time() >= end:
                return
            try:
                async with asyncio.timeout_at(min(end, heard + _BOOKMARK_SECONDS)):
                    await stream.news.wait()
            except TimeoutError:
                watch.stream.bookmark()
            else:
                await asyncio.sleep(_WAY_SECONDS)

    @staticmethod
    async def _keep_silent(stream: _Stream, until: float) -> None:
        """Say nothing until the client has had enough, or the connection breaks."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while not stream.is_broken:
                    stream.news.clear()
                    await stream.news.wait()
        stream.is_broken = True


class InProcess:
    """The `runtime.session.Session` of one program."""

    def __init__(self, host: Host, process: Process) -> None:
        self._host = host
        self._process = process
        self.observers: list[Observer] = []

    async def connect(self) -> None:
        """See `Session.connect`."""

    async def close(self) -> None:
        """See `Session.close`."""

    async def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: bytes | None = None,
        content_type: str = _JSON, accept: str = _JSON,
    ) -> bytes:  # fmt: skip
        """See `Session.request`."""
        answer = await self._send(
            Request(method, path, params or {}, accept, content_type, "neptune", b"" if body is None else body)
        )
        assert isinstance(answer, Response)
        return json.dumps(answer.body).encode()

    @asynccontextmanager
    async def stream(
        self, path: str, params: Mapping[str, str], *, idle_seconds: float, accept: str = _JSON
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Session.stream`."""
        answer = await self._send(Request("GET", path, params, accept))
        assert isinstance(answer, Watch)
        async with self._host.watching(answer, idle_seconds) as lines:
            yield lines

    async def _send(self, request: Request) -> Response | Watch:
        await asyncio.sleep(_WAY_SECONDS)
        self._check()
        answer = self._host.handle(request)
        if isinstance(answer, Watch):
            return answer
        await asyncio.sleep(_WAY_SECONDS)
        self._check()
        if self._host.is_answer_lost():
            raise _unreachable()
        if answer.code >= 300:
            raise error_for(answer.code, json.dumps(answer.body).encode())
        return answer

    def _check(self) -> None:
        if not self._process.alive or self._process.name in self._host.cut_off:
            raise _unreachable()


def _unreachable() -> ApiError:
    return ApiUnreachable("the simulated API server does not answer")
