"""What cloud and edge say: one JSON envelope, and a dataclass for each type of message.

The envelope has EventBus's `event_id` and `timestamp`; a result echoes the `event_id` of its request and adds `code`
and `reason`. Unknown fields are ignored, so that either side may be newer. Invariant: `decode` returns values of the
declared types or raises `MessageError`; nothing behind it checks again.
Neighbours: `topics` says where they go, `node` and `cloud` when. `api` has richer twins of the few fields here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar, get_args

from neptune.errors import NeptuneError

Json = dict[str, Any]
#: Digests of objects by uid.
Entries = dict[str, str]

#: The version of this schema; another one is answered with code 426.
SCHEMA_VERSION = 1
#: A batch is cut here (bytes of JSON), so that one message never holds up a slow link for long. It leaves room for
#: the envelope below `MAX_MESSAGE_BYTES`.
BATCH_BYTES = 64 * 1024
#: The largest message that is looked at: AWS IoT Core's limit, the lowest of the brokers in use.
MAX_MESSAGE_BYTES = 128 * 1024
#: Objects that may be asked for in one question; an answer of some hundred kilobytes.
MAX_ASKED = 500
#: No number is larger, so that every JSON reader has it exactly (RFC 8259, section 6). An epoch stays there.
MAX_NUMBER = 2**53 - 1

OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT = 200, 400, 403, 404, 409
TOO_LARGE, UPGRADE, UNAVAILABLE = 413, 426, 503


class MessageError(NeptuneError):
    """A message that cannot be read. `code` is what an answer would carry; the text says what is wrong with it."""

    def __init__(self, reason: str, code: int = BAD_REQUEST) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Header:
    """What every message carries.

    `timestamp` is the sender's wall clock in milliseconds, for people; nothing is decided by it. `cloud_epoch` and
    `node_epoch` name the process that speaks: a new process has a higher one. Of the other side's epoch a message
    carries the highest that was heard of, so that whoever is behind can go above it. `seq` orders what one cloud says.
    `cluster` is the uid of the namespace kube-system; empty where it is not known.
    """

    event_id: str
    timestamp: int
    cloud_epoch: int = 0
    node_epoch: int = 0
    seq: int = 0
    code: int = OK
    reason: str = ""
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class DesiredObject:
    """An object as the API server has it: the whole spec, keyed by uid, ordered by metadata.generation.

    `hash` stands for the spec in digests. The cloud makes it; a node keeps it as it came.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    spec: Json
    hash: str = ""


@dataclass(frozen=True, slots=True)
class ConditionReport:
    """One condition as a node sees it."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The latest status of one object.

    `number_of_samples` is None when it is not known; 0 means counted and empty. `fingerprint` is that of the content
    that has this number; None where the node knows none.
    """

    uid: str
    seq: int
    observed_generation: int
    number_of_samples: int | None
    update_time: str | None
    conditions: tuple[ConditionReport, ...]
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one report: 200 written, 400 not usable, 403 not yours, 404 gone, 409 another generation.

    `epoch` and `seq` name the report: a process that starts anew counts from one again.
    """

    uid: str
    epoch: int
    seq: int
    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Presence:
    """Birth and will of a node. `connection` counts the connections of one process, so that an old will is known.

    `will_epoch` is that of the will of this connection, where it is not the present one; 0 where it is.
    """

    TYPE: ClassVar[str] = "presence"
    online: bool
    connection: int
    agent: str = ""
    will_epoch: int = 0


@dataclass(frozen=True, slots=True)
class CloudPresence:
    """Birth and will of the cloud. A birth asks every node to synchronise, spread over `roll_call_seconds`."""

    TYPE: ClassVar[str] = "cloud.presence"
    online: bool
    roll_call_seconds: int = 1


@dataclass(frozen=True, slots=True)
class Get:
    """A node says what it has: the root of its objects, and that of its latest statuses."""

    TYPE: ClassVar[str] = "sync.get"
    root: str
    status_root: str


@dataclass(frozen=True, slots=True)
class GetResult:
    """The answer to `Get`: the cloud's root, and its bucket digests if the roots differ, else an empty text.

    `status_buckets` are those of the statuses, if the objects are equal and the statuses differ.
    Also how any question is refused: with a `code` in the header.
    """

    TYPE: ClassVar[str] = "sync.result"
    root: str
    buckets: str = ""
    status_buckets: str = ""


@dataclass(frozen=True, slots=True)
class GetEntries:
    """A node asks for the cloud's entries in these buckets."""

    TYPE: ClassVar[str] = "sync.get.entries"
    buckets: tuple[int, ...]
    status_buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EntriesResult:
    """Part `part` (from 1) of `of` of the entries. All parts share `event_id` and `seq`."""

    TYPE: ClassVar[str] = "sync.result.entries"
    part: int
    of: int
    entries: Entries
    status_entries: Entries


@dataclass(frozen=True, slots=True)
class GetObjects:
    """A node asks for objects that it lacks or has otherwise."""

    TYPE: ClassVar[str] = "sync.get.objects"
    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObjectsResult:
    """Part `part` (from 1) of `of` of the objects that were asked for; `deleted` are those that it should not have.

    `complete` is the short answer to `Get`: all parts together are all that the node should have, `root` is their
    digest, and `status_entries` are the statuses that the API server has. All parts share `event_id` and `seq`.
    """

    TYPE: ClassVar[str] = "sync.result.objects"
    part: int
    of: int
    objects: tuple[DesiredObject, ...]
    deleted: tuple[str, ...]
    complete: bool = False
    root: str = ""
    status_entries: Entries = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Updated:
    """Objects that changed, and uids that a node should forget. Without either it asks whether the node is there."""

    TYPE: ClassVar[str] = "desired.updated"
    objects: tuple[DesiredObject, ...]
    deleted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """Statuses of a node's objects."""

    TYPE: ClassVar[str] = "status.update"
    reports: tuple[StatusReport, ...]


@dataclass(frozen=True, slots=True)
class StatusResult:
    """Verdicts, sent only after the API server has taken the write, or for good refused it."""

    TYPE: ClassVar[str] = "status.result"
    verdicts: tuple[Verdict, ...]


Question = Get | GetEntries | GetObjects
Answer = GetResult | EntriesResult | ObjectsResult
Body = Presence | CloudPresence | Question | Answer | Updated | StatusUpdate | StatusResult
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
#: A uid, a name, a reason: nothing in the protocol but a spec needs more (characters).
MAX_TEXT = 4096
#: Texts for people, which are made to fit rather than refused: one long reason must not cost a whole batch.
_FOR_PEOPLE = frozenset({"message", "reason"})
#: A spec is copied and compared by recursion; far more than a person writes, far less than Python's stack holds.
_MAX_DEPTH = 32
_T = TypeVar("_T")


def encode(header: Header, body: Body) -> bytes:
    """Return the message as bytes of JSON. Texts for people are cut to what the other side reads."""
    return _json({"v": SCHEMA_VERSION, "type": body.TYPE, **_plain(header), "body": body})


def _plain(item: Any) -> Json:
    """Return the fields of a dataclass; `json` asks for those of what it holds in its turn."""
    values = {name: getattr(item, name) for name in item.__match_args__}
    return {name: fitting(value) if name in _FOR_PEOPLE else value for name, value in values.items()}


def fitting(text: str) -> str:
    """Return a text for people as the other side gets it."""
    return text[:MAX_TEXT].replace("\0", "\ufffd")


def _json(value: object) -> bytes:
    # A name of a file may hold bytes that are no UTF-8 (surrogateescape); they become question marks here.
    text = json.dumps(value, default=_plain, separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="replace")


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
