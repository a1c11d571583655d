"""Messages as bytes: one JSON envelope, read with care and cut to what brokers carry.

Unknown fields are ignored, so that either side may be newer. Invariant: `decode` returns values of the declared types
or raises `MessageError`; nothing behind it checks again.
Neighbours: `messages` declares what there is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, TypeVar, get_args

from neptune.errors import NeptuneError
from neptune.protocol.messages import (
    BAD_REQUEST,
    MAX_NUMBER,
    TOO_LARGE,
    UPGRADE,
    Body,
    ConditionReport,
    DesiredObject,
    Header,
    Json,
    StatusReport,
    Verdict,
    WorkReport,
)

#: The version of this schema; another one is answered with code 426.
SCHEMA_VERSION = 1
#: A batch is cut here (bytes of JSON), so that one message never holds up a slow link for long. It leaves room for
#: the envelope below `MAX_MESSAGE_BYTES`.
BATCH_BYTES = 64 * 1024
#: The largest message that is looked at: AWS IoT Core's limit, the lowest of the brokers in use.
MAX_MESSAGE_BYTES = 128 * 1024


class MessageError(NeptuneError):
    """A message that cannot be read. `code` is what an answer would carry; the text says what is wrong with it."""

    def __init__(self, reason: str, code: int = BAD_REQUEST) -> None:
        super().__init__(reason)
        self.code = code


_BODIES: dict[str, type[Body]] = {cls.TYPE: cls for cls in get_args(Body)}
_ITEMS: dict[str, type[Any]] = {
    "objects": DesiredObject,
    "reports": StatusReport,
    "verdicts": Verdict,
    "conditions": ConditionReport,
    "deleted": str,
    "uids": str,
    "buckets": int,
    "status_buckets": int,
}
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "Json": (dict,),
    "Entries": (dict,),
    "int | None": (int, type(None)),
    "str | None": (str, type(None)),
}
#: Fields that hold a dataclass, or nothing.
_NESTED: dict[str, type[Any]] = {"WorkReport | None": WorkReport}
#: A uid, a name, a reason: nothing in the protocol but a spec needs more (characters).
MAX_TEXT = 4096
#: Texts for people, which are made to fit rather than refused: one long reason must not cost a whole batch.
_FOR_PEOPLE = frozenset({"message", "reason"})
#: Fields that most messages have no use for; they are left out where they hold nothing.
_RARE = frozenset({"work"})
#: A spec is copied and compared by recursion; far more than a person writes, far less than Python's stack holds.
_MAX_DEPTH = 32
_T = TypeVar("_T")


def encode(header: Header, body: Body) -> bytes:
    """Return the message as bytes of JSON. Texts for people are cut to what the other side reads."""
    return _json({"v": SCHEMA_VERSION, "type": body.TYPE, **_plain(header), "body": body})


def _plain(item: Any) -> Json:
    """Return the fields of a dataclass; `json` asks for those of what it holds in its turn."""
    values = {name: getattr(item, name) for name in item.__match_args__}
    return {
        name: fitting(value) if name in _FOR_PEOPLE else value
        for name, value in values.items()
        if value is not None or name not in _RARE
    }


def fitting(text: str) -> str:
    """Return a text for people as the other side gets it."""
    return text[:MAX_TEXT].replace("\0", "\ufffd")


#: One for all messages: `json.dumps` makes a new one each time, which takes longer than many a message.
_ENCODER = json.JSONEncoder(default=_plain, separators=(",", ":"), ensure_ascii=False)


def _json(value: object) -> bytes:
    # A name of a file may hold bytes that are no UTF-8 (surrogateescape); they become question marks here.
    return _ENCODER.encode(value).encode(errors="replace")


def decode(payload: bytes) -> tuple[Header, Body]:
    """Read a message.

    Raises:
        MessageError: it is too large (413), not JSON, of an unknown version (426) or type, or a field is wrong (400).
    """
    if len(payload) > MAX_MESSAGE_BYTES:
        raise MessageError(f"{len(payload)} bytes; at most {MAX_MESSAGE_BYTES} are read", TOO_LARGE)
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not JSON: {error}") from error
    if not isinstance(data, dict):
        raise MessageError("not a JSON object")
    if type(data.get("v")) is not int or data["v"] != SCHEMA_VERSION:
        raise MessageError(f"schema version {_shown(data.get('v'))}; this side speaks {SCHEMA_VERSION}", UPGRADE)
    cls = _BODIES.get(data["type"]) if isinstance(data.get("type"), str) else None
    if cls is None:
        raise MessageError(f"unknown type {_shown(data.get('type'))}")
    header: Header = _read(Header, data, "")
    return header, _read(cls, data.get("body"), "body.")


def _shown(value: object) -> str:
    # The text goes to logs and back to the sender, so it is short; and the repr of deep nesting would not end well.
    return repr(value)[:64] if isinstance(value, (str, int, float)) else type(value).__name__


def _read(cls: type[_T], data: object, path: str) -> _T:
    """Build a dataclass from a JSON object, checking each declared field."""
    if not isinstance(data, dict):
        raise MessageError(f"{path or 'message'} is not an object")
    values: Json = {}
    for each in fields(cls):  # type: ignore[arg-type]  # every caller passes a dataclass
        if each.name in data:
            values[each.name] = _value(data[each.name], str(each.type), each.name, path)
    try:
        return cls(**values)
    except TypeError as error:
        raise MessageError(f"{path or 'message'}: {error}") from error


def _value(value: object, declared: str, name: str, path: str) -> object:
    if declared.startswith("tuple"):
        if not isinstance(value, list):
            raise MessageError(f"{path}{name} is not a list")
        item = _ITEMS[name]
        if item in (str, int):
            return tuple(_value(entry, item.__name__, name, path) for entry in value)
        return tuple(_read(item, entry, f"{path}{name}.") for entry in value)
    if declared in _NESTED:
        return None if value is None else _read(_NESTED[declared], value, f"{path}{name}.")
    allowed = _TYPES[declared]
    # bool is an int to Python, never to the protocol.
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        raise MessageError(f"{path}{name} is not of type {declared}")
    if isinstance(value, str) and (len(value) > MAX_TEXT or "\0" in value):
        raise MessageError(f"{path}{name} is too long or holds a NUL")
    if isinstance(value, dict) and declared == "Entries" and not all(isinstance(item, str) for item in value.values()):
        raise MessageError(f"{path}{name} has an entry that is not of type str")
    if isinstance(value, (str, dict)):
        _check_json(value, f"{path}{name}")
    if isinstance(value, int) and not 0 <= value <= MAX_NUMBER:
        raise MessageError(f"{path}{name} is out of bounds")
    return value


def _check_json(value: object, path: str, depth: int = 0) -> None:
    """Refuse what Python's parser lets through and nobody behind it expects."""
    if depth > _MAX_DEPTH:
        raise MessageError(f"{path} is nested deeper than {_MAX_DEPTH} levels")
    match value:
        case str():
            # JSON can escape half a character, which no file and no log takes (RFC 8259, 8.2).
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise MessageError(f"{path} holds half a surrogate pair")
        case float():
            if not math.isfinite(value):
                raise MessageError(f"{path} holds a number that JSON does not have")
        case list():
            for item in value:
                _check_json(item, path, depth + 1)
        case dict():
            for name, item in value.items():
                _check_json(name, path, depth + 1)
                _check_json(item, path, depth + 1)


def size(item: Any) -> int:
    """Return the bytes of JSON that an item (a dataclass or a string) takes in a message."""
    return len(_json(item))


def batches(items: Iterable[_T], limit: int = BATCH_BYTES) -> Iterator[tuple[_T, ...]]:
    """Cut items (dataclasses or strings) into batches of at most `limit` bytes of JSON; one item at least in each."""
    batch: list[_T] = []
    total = 0
    for item in items:
        length = size(item) + len(",")
        if batch and total + length > limit:
            yield tuple(batch)
            batch, total = [], 0
        batch.append(item)
        total += length
    if batch:
        yield tuple(batch)
