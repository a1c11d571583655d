"""The port between the client and whatever carries its requests: HTTP, or an API server in the same process.

Neighbours: `http.ApiSession` implements it over sockets, `neptune.testing.simulation` without; `client` uses it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

#: A stream on which nothing came for too long, or whose connection broke.
Cause = Literal["silent", "cut"]


class Observer(Protocol):
    """Counts requests. `status` is 0 when there was no answer; `host` is the API server's `HOST:PORT`."""

    def answered(self, method: str, status: int, host: str) -> None:
        """One attempt is over, but for the body of its answer."""
        ...

    def repeated(self, method: str, status: int, host: str) -> None:
        """That attempt was not the first one of its request."""
        ...

    def finished(self, method: str, host: str, seconds: float) -> None:
        """A request took this long, with all its attempts and the body. Streams do not count."""
        ...

    def broke(self, cause: Cause) -> None:
        """A stream ended in another way than by the server's or our own will."""
        ...


class Session(Protocol):
    """The way to one API server. Used from one event loop. `observers` hear of each request that went over a wire."""

    observers: list[Observer]

    async def connect(self) -> object:
        """Find out how to reach the server. Sends nothing."""
        ...

    async def close(self) -> None:
        """Free everything. Idempotent."""
        ...

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = ...,
        accept: str = ...,
    ) -> bytes:
        """Send one request and return the body of the answer, within a deadline.

        Raises:
            ApiError: the server refused, or did not answer.
        """
        ...

    def stream(
        self, path: str, params: Mapping[str, str], *, idle_seconds: float, accept: str = ...
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open a GET that lasts, and give the lines of its answer.

        Raises:
            ApiError: the server refused, the connection broke, or nothing came for `idle_seconds`.
        """
        ...
