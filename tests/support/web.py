"""An HTTP server of one object, on loopback: with strong, weak or no entity tags, with ranges or without."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Web:
    """What the server has, and what it was asked for. `tags` is "strong", "weak" or "none"."""

    content: bytes = b""
    tags: str = "strong"
    has_ranges: bool = True
    has_head: bool = True
    path: str = "/some%20data.txt"
    #: The value of `Authorization` without which it answers 401; none where empty.
    authorization: str = ""
    #: The value of `Content-Encoding`; none where empty.
    encoding: str = ""
    #: Where it sends everybody instead.
    redirect_to: str = ""
    #: The values of `Authorization` that came, a request each.
    shown: list[str | None] = field(default_factory=list)
    #: Method and number of bytes that were sent, a request each.
    requests: list[tuple[str, int]] = field(default_factory=list)
    url: str = ""

    def tag_of(self, content: bytes) -> str | None:
        digest = hashlib.sha256(content).hexdigest()
        return {"strong": f'"{digest}"', "weak": f'W/"{digest}"', "none": None}[self.tags]

    @property
    def fetched(self) -> int:
        return sum(sent for _, sent in self.requests)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: Web
    #: Of the content that this request found: a test may exchange it at any moment.
    _tag: str | None = None

    def do_HEAD(self) -> None:
        if self._turned_away():
            return
        if not self.web.has_head:
            self._answer(405, b"", body=False)
            return
        content = self.web.content
        self._tag = self.web.tag_of(content)
        found = self.path == self.web.path
        self._answer(200 if found else 404, content if found else b"", body=False)

    def do_GET(self) -> None:
        if self._turned_away():
            return
        content = self.web.content
        tag = self._tag = self.web.tag_of(content)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if self.path != self.web.path:
            self._answer(404, b"")
        elif tag and self.headers.get("If-Match", tag) != tag:
            self._answer(412, b"")
        elif wanted is None or not self.web.has_ranges:
            self._answer(200, content)
        else:
            start, end = int(wanted[1]), min(int(wanted[2]) + 1, len(content))
            self._answer(206, content[start:end], f"bytes {start}-{end - 1}/{len(content)}")

    def _turned_away(self) -> bool:
        shown = self.headers.get("Authorization")
        self.web.shown.append(shown)
        if self.web.redirect_to:
            self.send_response(302)
            self.send_header("Location", self.web.redirect_to)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.web.authorization and shown != self.web.authorization:
            self._answer(401, b"", body=False)
        else:
            return False
        return True

    def _answer(self, code: int, data: bytes, span: str = "", *, body: bool = True) -> None:
        self.web.requests.append((self.command, len(data) if body else 0))
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Last-Modified", "Sat, 01 Aug 2026 00:00:00 GMT")
        if self._tag:
            self.send_header("ETag", self._tag)
        if self.web.encoding:
            self.send_header("Content-Encoding", self.web.encoding)
        if span:
            self.send_header("Content-Range", span)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serve(web: Web) -> Iterator[Web]:
    """Serve until the block ends."""
    handler = type("Handler", (_Handler,), {"web": web})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    web.url = f"http://127.0.0.1:{server.server_port}{web.path}"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
