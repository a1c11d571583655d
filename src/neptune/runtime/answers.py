"""JSON that came from the API server, read so that one object in it cannot spoil the others.

Invariant: what `parse` and `parse_object` cannot read is an ApiUnreachable, never another error, and an object that is
nested deeper than Python can follow is cut and marked, so that the list or the watch that it is in goes on. The server
stores 10,000 levels, and a thousand, which 6 KB of a custom resource are enough for, are too many here.
Neighbours: `query` and `client` read answers with it, `query.decode` refuses what is marked.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

from pydantic_core import from_json, to_json

from neptune.api.meta import Json
from neptune.runtime.errors import ApiUnreachable

#: Levels that are kept of what is nested too deep; the interpreter's limit is about 1000 calls, ours among them.
MAX_DEPTH = 250
#: Stands where something was cut.
CUT = "neptune.io/nested-too-deep"
_CUT = CUT.encode()
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def parse(raw: bytes) -> Any:
    """Return what the JSON text says, with `CUT` in the place of what is nested too deep.

    Raises:
        ApiUnreachable: it is no JSON.
    """
    with suppress(ValueError):  # it is no JSON, or nested too deep for this parser, which is the quicker one
        return from_json(raw, cache_strings="keys")
    try:
        try:
            return json.loads(raw)
        except RecursionError:
            return json.loads(_cut(raw))
    except ValueError as error:
        raise _nonsense(raw) from error


def encode(item: Any) -> bytes:
    """Return the JSON text of what `parse` returned, or of what is to be sent.

    Raises:
        RecursionError: it could just be read, and cannot be written.
    """
    try:
        return to_json(item)
    except ValueError:  # nested too deep for this one
        return json.dumps(item, separators=(",", ":"), ensure_ascii=False).encode()


def parse_object(raw: bytes) -> Json:
    """Return the JSON object that the text says; otherwise as `parse`, also when it is another value."""
    answer = parse(raw)
    if not isinstance(answer, dict):
        raise _nonsense(raw)
    return answer


def refuse_cut(raw: bytes) -> None:
    """Raise a ValueError for an object from which something was cut."""
    if _CUT in raw:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")


def _cut(raw: bytes) -> bytes:
    """Put `CUT` in the place of each list and object that is below `MAX_DEPTH` levels."""
    parts: list[bytes] = []
    depth, kept_to = 0, 0
    for token in _TOKEN.finditer(raw):
        if token[0] in b"[{":
            depth += 1
            if depth == MAX_DEPTH:
                parts += [raw[kept_to : token.start()], b'"', _CUT, b'"']
        elif token[0] in b"]}":
            if depth == MAX_DEPTH:
                kept_to = token.end()
            depth -= 1
    parts.append(raw[kept_to:])
    return b"".join(parts)


def _nonsense(raw: bytes) -> ApiUnreachable:
    return ApiUnreachable(f"the answer is not an object of Kubernetes, is a proxy on the way? {raw[:80]!r}")
