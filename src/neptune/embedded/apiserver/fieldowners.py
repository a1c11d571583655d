"""Who owns which field of an object: server-side apply, and `metadata.managedFields` as it is stored. Pure.

A field is named by its path in FieldsV1's own words: `("f:spec", "f:url")`, `("f:conditions", 'k:{"type":"Ready"}')`,
`("f:tags", 'v:"x"')`. A claim is the set of the paths that one manager owns. A write takes the fields whose values it
changes from all others; an apply asks first, and owns what it sends whether that changes anything or not. The rules
are those of sigs.k8s.io/structured-merge-diff (merge/update.go, typed/compare.go, typed/tofieldset.go). `registry`
calls `applied` for an apply and `updated` for every other write.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.schema import child_schema, map_key_fields, merge_applied
from neptune.embedded.apiserver.status import apply_conflict

Path = tuple[str, ...]

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
#: What every write sends or the server sets, so that nobody owns it (apimachinery managedfields/internal/stripmeta.go).
_UNOWNED: frozenset[Path] = frozenset(
    [("f:apiVersion",), ("f:kind",), ("f:metadata",)]
    + [("f:metadata", f"f:{name}") for name in ("name", "namespace", "uid", "selfLink", "creationTimestamp")]
    + [("f:metadata", f"f:{name}") for name in ("generation", "resourceVersion", "managedFields")]
)
#: The value of an object or list in whose parts fields are looked for: it changes with its parts only.
_BRANCH: Any = object()


class Field(NamedTuple):
    """What is at a path. `named`: an apply that sends the path owns it, and not only what is below it."""

    value: Any
    named: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """One manager's fields; `time` is when it last took or changed one."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: frozenset[Path] = frozenset()

    @property
    def owner(self) -> Path:
        """What tells managers apart: one that applies is the same in every version of the API."""
        return self.manager, self.operation, self.subresource, "" if self.operation == "Apply" else self.api_version

    def __str__(self) -> str:
        where = f' with subresource "{self.subresource}"' if self.subresource else ""
        how = "" if self.operation == "Apply" else f" using {self.api_version}"
        return f"{_json(self.manager)}{where}{how}"


def updated(schema: Object, me: Claim, before: Object, after: Object, claims: list[Claim]) -> list[Claim]:
    """Return the claims once `me` replaced `before` by `after` without asking."""
    changed, removed = _compare(schema, before, after)
    return _settled(me, (_owned_by(me, claims) - removed) | changed, claims, changed, removed)


def applied(
    schema: Object, me: Claim, live: Object, config: Object, claims: list[Claim], *, force: bool
) -> tuple[Object, list[Claim]]:
    """Return `live` with what `me` applies, without what it applied before and nobody wants now; and the claims then.

    Raises:
        StatusError: 409, another manager owns a field with another value and `force` is false.
    """
    sent = frozenset(path for path, found in _fields(schema, config) if found.named)
    others = [each for each in claims if each.owner != me.owner]
    wanted = sent.union(*(each.fields for each in others))
    gone = _with_parents(_owned_by(me, claims)) - _with_parents(wanted)
    merged = _without(schema, merge_applied(schema, live, config), gone)
    changed, removed = _compare(schema, live, merged)
    if not force:
        disputed = changed - (_applied_by_client(schema, live) if me.manager == "kubectl" else frozenset())
        conflicts = [
            (str(each), "".join(map(_shown, path))) for each in others for path in _ordered(each.fields & disputed)
        ]
        if conflicts:
            raise apply_conflict(sorted(conflicts, key=lambda conflict: conflict[0]))
    return merged, _settled(me, sent, claims, changed, removed)


def read(entries: Any) -> list[Claim]:
    """Return the claims in `metadata.managedFields`.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: a client wrote them, and not as FieldsV1.
    """
    return [
        Claim(
            manager=str(each.get("manager", "")),
            operation=str(each["operation"]),
            api_version=str(each["apiVersion"]),
            subresource=str(each.get("subresource", "")),
            time=str(each.get("time", "")),
            fields=frozenset(_decoded(each["fieldsV1"], ())),
        )
        for each in entries
    ]


def write(claims: list[Claim]) -> list[Object]:
    """Return the claims as `metadata.managedFields`, in the real server's order (managedfields/internal)."""
    return [
        {
            "manager": each.manager,
            "operation": each.operation,
            "apiVersion": each.api_version,
            "time": each.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": _encoded(each.fields),
            **({"subresource": each.subresource} if each.subresource else {}),
        }
        for each in sorted(claims, key=lambda each: (each.operation, each.time, each.manager, each.subresource))
    ]


def _owned_by(me: Claim, claims: list[Claim]) -> frozenset[Path]:
    return next((each.fields for each in claims if each.owner == me.owner), frozenset())


def _settled(
    me: Claim, mine: frozenset[Path], claims: list[Claim], changed: frozenset[Path], removed: frozenset[Path]
) -> list[Claim]:
    """Return the claims once `me` owns `mine`, and the others have lost what it changed or removed."""
    mine -= _UNOWNED
    settled = []
    for each in claims:
        if each.owner != me.owner:
            settled.append(replace(each, fields=each.fields - changed - removed))
        elif each.fields == mine and each.api_version == me.api_version and not changed - _UNOWNED:
            me = each
    return [each for each in (*settled, replace(me, fields=mine)) if each.fields]


def _compare(schema: Object, before: Object, after: Object) -> tuple[frozenset[Path], frozenset[Path]]:
    """Return the paths that are new or have another value, and those that are gone."""
    old, new = dict(_fields(schema, before)), dict(_fields(schema, after))
    changed = frozenset(path for path, found in new.items() if path not in old or old[path].value != found.value)
    return changed, frozenset(old.keys() - new.keys())


def _fields(schema: Object, value: Any, path: Path = ()) -> Iterator[tuple[Path, Field]]:
    """Yield the path of every field in an object or a list."""
    for part, below, item in _parts(schema, value):
        here = (*path, part)
        is_branch = _is_branch(below, item)
        declared = part.startswith("f:") and part[2:] in schema.get("properties", {})
        yield here, Field(_BRANCH if is_branch else item, not declared or not is_branch or item == {})
        if is_branch:
            yield from _fields(below, item, here)


def _parts(schema: Object, value: Any) -> Iterator[tuple[str, Object, Any]]:
    """Yield the last step of the path, the schema and the value of each part of an object or a list."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"f:{name}", child_schema(schema, name) or {}, item
    else:
        items = schema.get("items") or {}
        is_map = schema.get("x-kubernetes-list-type") == "map"
        for item in value:
            keyed = is_map and isinstance(item, dict)
            yield f"k:{_json(map_key_fields(schema, item))}" if keyed else f"v:{_json(item)}", items, item


def _is_branch(schema: Object, value: Any) -> bool:
    """Tell whether parts of a value have owners of their own; lists are atomic unless declared as map or set."""
    if isinstance(value, list):
        return schema.get("x-kubernetes-list-type") in ("map", "set")
    return isinstance(value, dict) and schema.get("x-kubernetes-map-type") != "atomic"


def _without(schema: Object, value: Any, gone: frozenset[Path], path: Path = ()) -> Any:
    """Return an object or a list without the parts at the paths `gone`."""
    kept = [
        (part, _without(below, item, gone, (*path, part)) if _is_branch(below, item) else item)
        for part, below, item in _parts(schema, value)
        if (*path, part) not in gone
    ]
    return {part[2:]: item for part, item in kept} if isinstance(value, dict) else [item for _, item in kept]


def _with_parents(paths: frozenset[Path]) -> frozenset[Path]:
    """Return the paths and the object fields on the way to them; list items are owned by name only."""
    parents = (path[:length] for path in paths for length in range(1, len(path)))
    return paths.union(parent for parent in parents if parent[-1].startswith("f:"))


def _applied_by_client(schema: Object, live: Object) -> frozenset[Path]:
    """Return what kubectl's client-side apply left: its server-side apply takes that over (lastappliedmanager.go)."""
    try:
        last = json.loads((live["metadata"].get("annotations") or {})[_LAST_APPLIED])
    except (KeyError, ValueError):
        return frozenset()
    now = dict(_fields(schema, live))
    sent = _fields(schema, last) if isinstance(last, dict) else ()
    return frozenset(path for path, found in sent if path in now and now[path].value == found.value)


def _encoded(paths: frozenset[Path]) -> Object:
    """Return paths as FieldsV1: nested by step, with a dot for a path that is owned itself beside parts of it."""
    tree: Object = {}
    for path in sorted(paths):
        node = tree
        for length, step in enumerate(path, 1):
            node = node.setdefault(step, {})
            if length < len(path) and path[:length] in paths:
                node.setdefault(".", {})
    return tree


def _decoded(node: Object, path: Path) -> Iterator[Path]:
    for step, below in node.items():
        if step == ".":
            yield path
        elif step[:2] in ("f:", "k:", "v:"):  # the real server skips what it does not know, too
            _shown(step)
            yield from _decoded(below, (*path, step)) if below != {} else ((*path, step),)


def _ordered(paths: frozenset[Path]) -> list[Path]:
    """Return paths as fieldpath.Set iterates: in each object the leaves first."""
    return sorted(paths, key=lambda path: [(length < len(path), step) for length, step in enumerate(path, 1)])


def _shown(step: str) -> str:
    """Return a step as error texts have it; raises ValueError or AttributeError for what is no step."""
    if step.startswith("f:"):
        return f".{step[2:]}"
    value = json.loads(step[2:])
    keys = {"": value} if step.startswith("v:") else value
    return f"[{','.join(f'{name}={_json(each)}' for name, each in sorted(keys.items()))}]"


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
