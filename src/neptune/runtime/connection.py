"""One HTTP/1.1 connection: a request at a time, its answer whole or as it comes. The only door to httptools.

Invariant: an answer belongs to the request that was sent last; after anything else that a peer can send, and after a
request that was given up, the connection is closed. What is kept of an answer that is read as it comes is bounded, and
so are its head and its trailers.
Neighbours: `pool` opens connections, and uses them again. llhttp, the parser of Node.js, obeys RFC 9112.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

#: Of a head, of trailers, and of anything else that is no content, without the content after it. Go's net/http accepts
#: 1 MB (DefaultMaxHeaderBytes); kube-apiserver sends some 500 bytes.
MAX_HEAD_BYTES = 64 * 1024
#: The transport is told to read no more while as much waits for its reader. One read of it may come on top: 256 KB.
HIGH_WATER_BYTES = 256 * 1024

_UNFIT = re.compile(r"[^\t\x20-\x7e\x80-\xff]")  # RFC 9110, 5.5
_UNFIT_TARGET = re.compile(r"[^\x21-\x7e]")  # RFC 9112, 3.2: no space may be in it


def request_head(method: str, target: str, fields: str) -> str:
    """Return a head; `fields` are lines made by `field`. The target must be percent-encoded.

    Raises:
        ValueError: the target holds what no request line may have.
    """
    if _UNFIT_TARGET.search(target):
        raise ValueError(f"{target!r} cannot be asked for: it is not percent-encoded")
    return f"{method} {target} HTTP/1.1\r\n{fields}\r\n"


def field(name: str, value: str) -> str:
    """Return one line of a head.

    Raises:
        ValueError: the value holds a line end or another character that no header may have. It is not in the text.
    """
    if _UNFIT.search(value):
        raise ValueError(f"the value of the header {name} holds a character that no header may have")
    return f"{name}: {value}\r\n"


def fields(*pairs: tuple[str, str]) -> str:
    """Return the lines of a head for these headers, as `field` does."""
    return "".join(field(name, value) for name, value in pairs)


class Broken(ConnectionError):
    """The connection ended, or was ended for what came on it, before the answer was complete.

    Attributes:
        status: of the answer, 0 when its head did not come.
        sent: the request was given to the transport.
        answered: a part of an answer came.
    """

    def __init__(self, message: str, *, status: int = 0, sent: bool = True, answered: bool = True) -> None:
        super().__init__(message)
        self.status = status
        self.sent = sent
        self.answered = answered


@dataclass(slots=True)
class Answer:
    """What a server said. `body` is whole, or empty for one that is read from its connection as it comes."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""

    def values(self, name: bytes) -> list[str]:
        """Return the values of a header, given its name in lower case."""
        return [value.decode("latin-1") for each, value in self.headers if each == name]

    def decoded(self) -> Answer:
        """Return this answer without its Content-Encoding.

        Raises:
            Broken: it is another one than gzip, or it is no gzip.
        """
        for coding in self.values(b"content-encoding"):
            if coding.lower() not in {"gzip", "x-gzip", "identity", ""}:
                raise Broken(f"the answer is encoded as {coding[:40]!r}, which was not asked for", status=self.status)
            if "gzip" in coding.lower() and self.body:
                try:
                    self.body = gzip.decompress(self.body)
                except (OSError, EOFError, zlib.error) as error:
                    raise Broken(f"the answer is no good gzip: {error}", status=self.status) from error
        return self


class _Phase(Enum):
    IDLE = "no request is under way"
    HEAD = "the head of the answer is due"
    BODY = "the head is here"


class Connection(asyncio.Protocol):
    """A connection, from `connection_made` on; `lost` is called once when it is gone."""

    def __init__(self, lost: Callable[[Connection], object]) -> None:
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._phase = _Phase.IDLE
        self._waiter: asyncio.Future[None] | None = None
        self._broken: Broken | None = None
        self._answer = Answer(0, [])
        self._parts: list[bytes] = []
        self._size = 0
        self._overhead = 0  # bytes since there was content
        self._heard = False
        self._streams = False
        self._paused = False
        self._keeps_alive = True
        self._waiting_since = 0.0
        self._silence: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> bool:
        """Whether a request may be sent: the connection is open and nothing is under way on it."""
        idle = self._phase is _Phase.IDLE and self._broken is None
        return idle and self._keeps_alive and not self._transport.is_closing()

    async def ask(self, request: bytes, *, streams: bool = False) -> Answer:
        """Send a request and return its answer. Whoever is cancelled meanwhile leaves a closed connection.

        An answer below 300 is returned with its head if it `streams`: then `read` has its content.

        Raises:
            Broken: there was no answer, or not all of it, or it was no HTTP.
        """
        if not self.usable:
            raise Broken("the connection was closed before the request was sent", sent=False, answered=False)
        self._phase = _Phase.HEAD
        self._answer = Answer(0, [])
        self._overhead = 0
        self._heard = False
        self._streams = streams
        self._waiter = self._loop.create_future()
        if self._silence:
            self._silence.cancel()
            self._silence = None
        self._transport.write(request)
        try:
            await self._waiter
        except asyncio.CancelledError:
            self.abort()
            raise
        if self._streams:
            return self._answer
        self._answer.body = self._taken()
        return self._answer

    async def read(self, idle_seconds: float) -> bytes:
        """Return what came of a streamed answer since the last call; wait if there is nothing; empty at its end.

        Raises:
            TimeoutError: nothing came for `idle_seconds`. The connection is closed.
            Broken: the connection ended before the answer did.
        """
        while not self._parts:
            if self._phase is _Phase.IDLE:
                return b""
            if self._broken:
                raise self._broken
            await self._more(idle_seconds)
        data = self._taken()
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()
        return data

    def abort(self) -> None:
        """Close the connection at once; nothing more is sent, not even TLS's goodbye. Idempotent."""
        if self._broken is None:
            self._broken = Broken("the connection was closed on this side")
        self._transport.abort()

    async def _more(self, idle_seconds: float) -> None:
        # One timer for many reads: most end within microseconds, and setting one costs more than that.
        self._waiting_since = self._loop.time()
        self._waiter = self._loop.create_future()
        if self._silence is None:
            self._silence = self._loop.call_later(idle_seconds, self._listen, idle_seconds)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _listen(self, idle_seconds: float) -> None:
        """Give up if somebody has waited for `idle_seconds`; look again when that could next be so."""
        self._silence = None
        if self._waiter is None or self._waiter.done():
            return  # whoever waits next sets the timer
        end = self._waiting_since + idle_seconds
        if self._loop.time() < end:
            self._silence = self._loop.call_at(end, self._listen, idle_seconds)
            return
        self._waiter.set_exception(TimeoutError())
        self.abort()

    def _taken(self) -> bytes:
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        return data

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, message: str, cause: Exception | None = None) -> None:
        """End the connection and what is under way on it."""
        if self._broken is None:
            self._broken = Broken(message, status=self._answer.status, answered=self._heard)
            self._broken.__cause__ = cause
        if self._waiter and not self._waiter.done():
            if self._parts and self._streams:
                self._waiter.set_result(None)  # what came is good; whoever reads on hears of the rest
            else:
                self._waiter.set_exception(self._broken)
        self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Parse, and wake whoever waits for it."""
        if self._broken:
            return
        self._heard = True
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(f"what came is not the answer that was asked for, is a proxy on the way? {data[:80]!r}", error)
            return
        if self._overhead > MAX_HEAD_BYTES:
            self._fail(f"the head of the answer is longer than {MAX_HEAD_BYTES} bytes")
        elif self._streams and self._parts:
            self._wake()
            if self._size > HIGH_WATER_BYTES and not self._paused and not self._transport.is_closing():
                self._paused = True
                self._transport.pause_reading()

    def eof_received(self) -> None:
        """End an answer that has no other end."""
        framing = {b"content-length", b"transfer-encoding"}.intersection(name for name, _ in self._answer.headers)
        if self._phase is _Phase.BODY and not framing and self._broken is None:
            self.on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is under way."""
        if self._phase is not _Phase.IDLE:
            what = "before the answer was complete" if self._heard else "before an answer came"
            self._fail(f"the connection broke {what}" + (f": {exc}" if str(exc or "") else ""), exc)
        elif self._broken is None:
            self._broken = Broken("the connection was closed", sent=False, answered=False)
        if self._silence:
            self._silence.cancel()
        self._lost(self)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """Refuse an answer that nobody asked for (RFC 9112, 9.2)."""
        if self._phase is not _Phase.HEAD:
            raise Broken("an answer came that was not asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, but for trailers."""
        if self._phase is _Phase.HEAD:
            self._answer.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Go on to the content, unless this is an interim answer (RFC 9110, 15.2)."""
        status = self._parser.get_status_code()
        if status < 200:
            self._answer.headers.clear()
            return
        self._overhead = 0
        self._answer.status = status
        self._phase = _Phase.BODY
        self._keeps_alive = self._parser.should_keep_alive()
        self._streams = self._streams and status < 300
        if self._streams:
            self._wake()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the content."""
        self._overhead = 0
        self._size += len(body)
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """Let the answer be whole."""
        if self._phase is _Phase.BODY:
            self._phase = _Phase.IDLE
            if self._transport.get_write_buffer_size():
                self._keeps_alive = False  # it came early: the rest of the request would go on the wire still
            self._wake()
