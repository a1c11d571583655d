"""The protobuf in which kubectl's typed commands create namespaces and config maps, read as JSON values. Pure.

Only what such a creation says is read; a message with anything else in it is refused, not cut short. Field numbers:
k8s.io/apimachinery `pkg/runtime/generated.proto` and `pkg/apis/meta/v1/generated.proto`, k8s.io/api
`core/v1/generated.proto`. `request` calls `decode` for bodies of `MEDIA` and answers in JSON.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from neptune.embedded.apiserver.objects import Object

MEDIA = "application/vnd.kubernetes.protobuf"

#: What a message in the Kubernetes format begins with (runtime/serializer/protobuf/protobuf.go).
_MAGIC = b"k8s\x00"

_VARINT, _BYTES = 0, 2

#: How a field is read: its name, and what adds its contents to the value so far.
_Reader = Callable[[Any, Any], Any]
_Message = Mapping[int, tuple[str, _Reader]]


def decode(data: bytes) -> Object | None:
    """Return the object in a message, or None for a kind that is not read.

    Raises:
        ValueError: it is no message of Kubernetes, or has fields that are not read.
    """
    if not data.startswith(_MAGIC):
        raise ValueError("it does not begin as Kubernetes' protobuf does")
    envelope = _read(data[len(_MAGIC) :], _UNKNOWN)
    identity = envelope.get("typeMeta", {})
    message = _KINDS.get((identity.get("apiVersion"), identity.get("kind")))
    return None if message is None else {**identity, **_read(envelope.get("raw", b""), message)}


def _read(data: bytes, message: _Message) -> Object:
    found: Object = {}
    for number, value in _fields(data):
        if number in message:
            name, add = message[number]
            found[name] = add(found.get(name), value)
        elif not _is_empty(value):
            raise ValueError(f"this server does not read field {number} of this kind: send JSON or YAML")
    return found


def _is_empty(value: int | bytes) -> bool:
    """Tell whether a field says nothing: Go's encoder writes zeros, and messages of zeros, too."""
    return not value or (isinstance(value, bytes) and all(not each for _, each in _fields(value)))


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the number and the contents of each field (protobuf.dev/programming-guides/encoding)."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        value, position = _varint(data, position)
        if tag & 7 == _BYTES:
            start, position = position, position + value
            if position > len(data):
                raise ValueError("it ends too early")
            yield tag >> 3, data[start:position]
        elif tag & 7 == _VARINT:
            yield tag >> 3, value
        else:
            raise ValueError(f"wire type {tag & 7} does not occur in what this server reads")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            break
        byte, position = data[position], position + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("it ends too early")


def _text(_before: Any, value: Any) -> str:
    return _raw(None, value).decode()


def _raw(_before: Any, value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field has another type than it should")  # noqa: TRY004 (one error for all bad bytes)
    return value


def _flag(_before: Any, value: Any) -> bool:
    return bool(value)


def _texts(before: list[str] | None, value: Any) -> list[str]:
    return [*(before or ()), _text(None, value)]


def _base64(_before: Any, value: Any) -> str:
    return base64.b64encode(_raw(None, value)).decode()


def _map(add: _Reader) -> _Reader:
    entry: _Message = {1: ("key", _text), 2: ("value", add)}

    def read(before: Object | None, value: Any) -> Object:
        item = _read(_raw(None, value), entry)
        return {**(before or {}), item.get("key", ""): item.get("value", "")}

    return read


def _part(message: _Message) -> _Reader:
    return lambda _before, value: _read(_raw(None, value), message)


_UNKNOWN: _Message = {
    1: ("typeMeta", _part({1: ("apiVersion", _text), 2: ("kind", _text)})),
    2: ("raw", _raw),
}
_METADATA: _Message = {
    1: ("name", _text),
    2: ("generateName", _text),
    3: ("namespace", _text),
    11: ("labels", _map(_text)),
    12: ("annotations", _map(_text)),
    14: ("finalizers", _texts),
}
_KINDS: dict[tuple[Any, Any], _Message] = {
    ("v1", "Namespace"): {1: ("metadata", _part(_METADATA))},
    ("v1", "ConfigMap"): {
        1: ("metadata", _part(_METADATA)),
        2: ("data", _map(_text)),
        3: ("binaryData", _map(_base64)),
        4: ("immutable", _flag),
    },
}
