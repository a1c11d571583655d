"""Values judged by a structural schema, and object metadata by Kubernetes' naming rules. Pure.

Texts are those of kube-openapi `pkg/validation/errors/schema.go`, mapped to field errors as apiextensions-apiserver's
`pkg/apiserver/validation/validation.go` does. An update may keep a value that was stored before and is invalid by
today's schema ("validation ratcheting"). CEL rules (`x-kubernetes-validations`) are not evaluated.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from datetime import date, datetime
from typing import Any
from uuid import UUID

from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.schema import child_schema, map_key
from neptune.embedded.apiserver.status import FieldError, not_supported

#: Stands for "there was no value before".
_ABSENT: Any = object()

_TYPE_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_QUALIFIED_PART = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_KEY_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def validate(schema: Object, value: Any, path: str = "", before: Any = _ABSENT) -> list[FieldError]:
    """Return what is wrong with `value`; nothing where it equals `before`, the value that it replaces."""
    if before is not _ABSENT and value == before:
        return []
    if wrong := _wrong_type(schema, value, path):
        return [wrong]
    if value is None:
        return []
    errors = [*_enumerated(schema, value, path), *_combined(schema, value, path)]
    if isinstance(value, str):
        errors += _string(schema, value, path)
    elif isinstance(value, list):
        errors += _array(schema, value, path, before)
    elif isinstance(value, dict):
        errors += _object(schema, value, path, before)
    elif not isinstance(value, bool):
        errors += _number(schema, value, path)
    return errors


def validate_metadata(metadata: Object, *, label_name: bool = False) -> list[FieldError]:
    """Return what is wrong with an object's name, labels, annotations and finalizers.

    `label_name` forbids dots in the name, as namespaces do.
    """
    name, prefix = metadata.get("name", ""), metadata.get("generateName", "")
    errors: list[FieldError] = []
    if prefix:
        # A prefix may end in a dash: what follows makes it a name.
        errors += _name("metadata.generateName", prefix, prefix.rstrip("-") or "-", label_name=label_name)
    if name:
        errors += _name("metadata.name", name, name, label_name=label_name)
    else:
        errors.append(FieldError("metadata.name", "FieldValueRequired", detail="name or generateName is required"))
    for finalizer in metadata.get("finalizers") or ():
        errors += _qualified("metadata.finalizers", finalizer)
    for key, value in (metadata.get("labels") or {}).items():
        errors += _qualified("metadata.labels", key)
        if value and (len(value) > 63 or not _QUALIFIED_PART.fullmatch(value)):
            detail = _VALUE_TEXT if len(value) <= 63 else "must be no more than 63 bytes"
            errors.append(FieldError("metadata.labels", "FieldValueInvalid", value, detail))
    for key in metadata.get("annotations") or {}:
        errors += _qualified("metadata.annotations", key.lower())
    return errors


def _name(path: str, shown: str, name: str, *, label_name: bool) -> Iterator[FieldError]:
    pattern, text, limit = (_LABEL, _LABEL_TEXT, 63) if label_name else (_SUBDOMAIN, _SUBDOMAIN_TEXT, 253)
    if len(name) > limit:
        yield FieldError(path, "FieldValueInvalid", shown, f"must be no more than {limit} bytes")
    if not pattern.fullmatch(name):
        yield FieldError(path, "FieldValueInvalid", shown, text)


def _qualified(path: str, key: str) -> Iterator[FieldError]:
    prefix, _, name = key.rpartition("/")
    if not _QUALIFIED_PART.fullmatch(name) or len(name) > 63:
        yield FieldError(path, "FieldValueInvalid", key, _KEY_TEXT)
    if prefix and not _SUBDOMAIN.fullmatch(prefix):
        yield FieldError(path, "FieldValueInvalid", key, f"prefix part {_SUBDOMAIN_TEXT}")


def type_name(value: Any) -> str:
    """Return the JSON schema type of a value; a whole float is an integer."""
    if isinstance(value, float) and value.is_integer():
        return "integer"
    return _TYPE_NAMES[type(value)]


def _wrong_type(schema: Object, value: Any, path: str) -> FieldError | None:
    expected = schema.get("type")
    found = type_name(value)
    if schema.get("x-kubernetes-int-or-string"):
        expected, fits = "integer,string", found in ("integer", "string")
    else:
        fits = expected in (None, found) or (expected == "number" and found == "integer")
    if fits or (value is None and schema.get("nullable")):
        return None
    detail = f'{path} in body must be of type {expected}: "{found}"'
    return FieldError(path or "<nil>", "FieldValueTypeInvalid", found, detail)


def _enumerated(schema: Object, value: Any, path: str) -> Iterator[FieldError]:
    allowed = schema.get("enum")
    if allowed is not None and value not in allowed:
        yield not_supported(path, value, allowed)


def _combined(schema: Object, value: Any, path: str) -> Iterator[FieldError]:
    def bad(text: str) -> FieldError:
        return FieldError(path, "FieldValueInvalid", "", f"{json.dumps(path)} {text}")

    for part in schema.get("allOf", ()):
        yield from validate(part, value, path)
    if (parts := schema.get("anyOf")) and all(validate(part, value, path) for part in parts):
        yield bad("must validate at least one schema (anyOf)")
    if parts := schema.get("oneOf"):
        valid = sum(not validate(part, value, path) for part in parts)
        if valid != 1:
            found = "none valid" if valid == 0 else f"{valid} valid alternatives"
            yield bad(f"must validate one and only one schema (oneOf). Found {found}")
    if "not" in schema and not validate(schema["not"], value, path):
        yield bad("must not validate the schema (not)")


def _string(schema: Object, value: str, path: str) -> Iterator[FieldError]:
    length = len(value)
    if length > schema.get("maxLength", length):
        bound = schema["maxLength"]
        detail = f"may not be more than {bound} byte{'' if bound == 1 else 's'}"
        yield FieldError(path, "FieldValueTooLong", detail=detail)
    if length < schema.get("minLength", 0):
        detail = f"{path} in body should be at least {schema['minLength']} chars long"
        yield FieldError(path, "FieldValueInvalid", value, detail)
    pattern = schema.get("pattern")
    if pattern and not re.search(pattern, value):
        yield FieldError(path, "FieldValueInvalid", value, f"{path} in body should match '{pattern}'")
    name = str(schema.get("format", ""))
    check = _FORMATS.get(name.replace("-", ""))  # go-openapi reads datetime as date-time
    if check:
        try:
            check(value)
        except (ValueError, binascii.Error):
            detail = f"{path} in body must be of type {name}: {json.dumps(value)}"
            yield FieldError(path, "FieldValueTypeInvalid", value, detail)


def _date_time(text: str) -> None:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", text):
        raise ValueError(text)
    datetime.fromisoformat(text.upper())


_FORMATS: dict[str, Callable[[str], object]] = {
    "datetime": _date_time,
    "date": date.fromisoformat,
    "byte": lambda text: base64.b64decode(text, validate=True),
    "uuid": UUID,
}


def _number(schema: Object, value: float, path: str) -> Iterator[FieldError]:
    low, high, factor = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")

    def bad(what: str) -> FieldError:
        return FieldError(path, "FieldValueInvalid", value, f"{path} in body should be {what}")

    if low is not None and schema.get("exclusiveMinimum") and value <= low:
        yield bad(f"greater than {low}")
    elif low is not None and value < low:
        yield bad(f"greater than or equal to {low}")
    if high is not None and schema.get("exclusiveMaximum") and value >= high:
        yield bad(f"less than {high}")
    elif high is not None and value > high:
        yield bad(f"less than or equal to {high}")
    if factor and value % factor:
        yield bad(f"a multiple of {factor}")


def _size(schema: Object, size: int, noun: str, path: str) -> Iterator[FieldError]:
    high, low = schema.get(f"max{noun.title()}"), schema.get(f"min{noun.title()}", 0)
    if high is not None and size > high:
        unit = "item" if high == 1 else "items"
        yield FieldError(path, "FieldValueTooMany", size, f"must have at most {high} {unit}")
    if size < low:
        yield FieldError(path, "FieldValueInvalid", size, f"{path} in body should have at least {low} {noun}")


def _array(schema: Object, value: list[Any], path: str, before: Any) -> Iterator[FieldError]:
    yield from _size(schema, len(value), "items", path)
    items = schema.get("items", {})
    kind = schema.get("x-kubernetes-list-type")
    known: dict[tuple[str, ...], Any] = {}
    if kind == "map" and isinstance(before, list):
        known = {map_key(schema, item): item for item in before}
    seen = set()
    for index, item in enumerate(value):
        key = map_key(schema, item) if kind == "map" else (repr(item),)
        yield from validate(items, item, f"{path}[{index}]", known.get(key, _ABSENT))
        if kind in ("map", "set") and key in seen:
            names = schema.get("x-kubernetes-list-map-keys", ())
            shown = {name: item.get(name) for name in names} if kind == "map" else item
            yield FieldError(f"{path}[{index}]", "FieldValueDuplicate", shown)
        seen.add(key)


def _object(schema: Object, value: Object, path: str, before: Any) -> Iterator[FieldError]:
    yield from _size(schema, len(value), "properties", path)
    for name in schema.get("required", ()):
        if name not in value:
            yield FieldError(f"{path}.{name}" if path else name, "FieldValueRequired")
    old = before if isinstance(before, dict) else {}
    for name, item in value.items():
        child = child_schema(schema, name)
        if child is not None:
            yield from validate(child, item, f"{path}.{name}" if path else name, old.get(name, _ABSENT))
