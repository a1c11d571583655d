"""What an API server warns of in the `Warning` headers of its answers: a field that it dropped, an old API version.

Invariant: each text is logged once, and memory is bounded, however many requests bring it.
Neighbours: `http` shows it the headers. Rules: RFC 7234, 5.5; client-go (rest/warnings.go) heeds the code 299 alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from neptune.log import get_logger

#: Texts that are remembered as said. A server has some dozens; one that puts values into them must not fill memory.
MAX_TEXTS = 1000
_WARNING = re.compile(r'(?P<code>\d{3}) \S+ "(?P<text>(?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


def texts(headers: Iterable[str]) -> Iterator[str]:
    """Give the texts of the warnings that are about the request as a whole; what is no warning is left out."""
    for header in headers:
        for warning in _WARNING.finditer(header):
            if warning["code"] == "299" and warning["text"]:
                yield _ESCAPED.sub(r"\1", warning["text"])


class WarningLog:
    """Logs what it has not logged before."""

    def __init__(self) -> None:
        self._said: dict[str, None] = {}
        self._log = get_logger()

    def saw(self, headers: Iterable[str], request: str) -> None:
        """Take in the `Warning` headers of the answer to a request, such as `PATCH /api/v1/...`."""
        for text in texts(headers):
            if text in self._said:
                continue
            if len(self._said) >= MAX_TEXTS:
                del self._said[next(iter(self._said))]
            self._said[text] = None
            self._log.warning("API server warns", warning=text, request=request)
