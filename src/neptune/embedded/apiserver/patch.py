"""Patches as pure functions of two JSON values: merge patch (RFC 7386) and JSON patch (RFC 6902).

Strategic merge patches, which kubectl sends for built-in kinds, are treated as merge patches: the built-in kinds here
have no list that would merge otherwise, apart from finalizers and owner references, which such a patch replaces whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from neptune.embedded.apiserver.status import StatusError, bad_request

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
#: Server-side apply, which `registry` does itself.
APPLY = "application/apply-patch+yaml"


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` changed by a merge patch: null removes, objects merge, all else replaces.

    Raises:
        StatusError: 400, the patch is no object.
    """
    if not isinstance(patch, dict):
        raise bad_request(f"error decoding patch: a merge patch is an object, not {patch!r}")
    return _merge(target, patch)


def strategic_merge(target: Any, patch: Any) -> Any:
    """Return `target` changed by a strategic merge patch without list directives.

    Raises:
        StatusError: 400, the patch has a directive that this server does not know.
    """
    return merge_patch(target, _without_directives(patch))


def json_patch(target: Any, operations: Any) -> Any:
    """Return a copy of `target` changed by the operations of a JSON patch, in order.

    Raises:
        StatusError: 400 for a patch that is none, 422 where it does not fit the target.
    """
    if not isinstance(operations, list) or not all(isinstance(each, dict) for each in operations):
        raise bad_request("error decoding patch: a JSON patch is an array of operations")
    document = {"": copy.deepcopy(target)}
    for each in operations:
        try:
            _operate(document, each)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise _does_not_fit() from error
    return document[""]


#: Patch functions of (target, patch) by content type.
WAYS: dict[str, Callable[[Any, Any], Any]] = {JSON: json_patch, MERGE: merge_patch, STRATEGIC: strategic_merge}


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _without_directives(patch: Any) -> Any:
    if isinstance(patch, list):
        return [_without_directives(item) for item in patch]
    if not isinstance(patch, dict):
        return patch
    kept = {}
    for name, value in patch.items():
        if not name.startswith("$"):
            kept[name] = _without_directives(value)
        elif not name.startswith(("$setElementOrder/", "$retainKeys")):
            raise bad_request(f"this server does not know the strategic merge directive {name}: use a merge patch")
    return kept


def _does_not_fit() -> StatusError:
    return StatusError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def _operate(document: dict[str, Any], operation: dict[str, Any]) -> None:
    path = _pointer(operation["path"])
    match operation["op"]:
        case "add":
            _add(document, path, operation["value"])
        case "remove":
            _remove(document, path)
        case "replace":
            _remove(document, path)
            _add(document, path, operation["value"])
        case "move":
            _add(document, path, _remove(document, _pointer(operation["from"])))
        case "copy":
            _add(document, path, copy.deepcopy(_find(document, _pointer(operation["from"]))))
        case "test":
            if _find(document, path) != operation["value"]:
                raise ValueError(operation["path"])
        case other:
            raise ValueError(other)


def _pointer(text: str) -> list[str]:
    """Read an RFC 6901 pointer; the first part is the root's name in `document`, the empty string."""
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")]


def _find(document: Any, path: list[str]) -> Any:
    for part in path:
        document = document[int(part)] if isinstance(document, list) else document[part]
    return document


def _add(document: Any, path: list[str], value: Any) -> None:
    parent, last = _find(document, path[:-1]), path[-1]
    if not isinstance(parent, list):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    elif 0 <= int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise IndexError(last)


def _remove(document: Any, path: list[str]) -> Any:
    parent, last = _find(document, path[:-1]), path[-1]
    return parent.pop(int(last)) if isinstance(parent, list) else parent.pop(last)
