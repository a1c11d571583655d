"""What the server itself adds to objects of the built-in kinds, and what it demands of namespaces. Pure.

`registry` calls `complete` once an object is valid and the checks before a creation or a deletion.
"""

from __future__ import annotations

import base64
from datetime import datetime

from neptune.embedded.apiserver import crds
from neptune.embedded.apiserver.builtin import CRDS, NAMESPACES
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.resources import ResourceType
from neptune.embedded.apiserver.status import StatusError, forbidden, not_found
from neptune.embedded.apiserver.store import Key, Store

#: Namespaces that exist from the start and stay.
SYSTEM_NAMESPACES = ("default", "kube-system")


def complete(kind: ResourceType, obj: Object, before: Object | None, now: datetime) -> Object:
    """Return a valid object with what its kind's own controllers and strategies would add."""
    if kind is CRDS:
        return crds.complete(obj, now, before)
    if kind is NAMESPACES:
        return _complete_namespace(obj)
    if kind.storage == "secrets":
        return _complete_secret(obj)
    return obj


def check_namespace(store: Store, kind: ResourceType, namespace: str, name: str) -> None:
    """Refuse to create where there is no namespace, or one that is being deleted (admission NamespaceLifecycle).

    Raises:
        StatusError: 404 or 403.
    """
    if not kind.namespaced:
        return
    found = store.get(Key(NAMESPACES.storage, "", namespace))
    if found is None:
        raise not_found(NAMESPACES, namespace)
    if found["metadata"].get("deletionTimestamp"):
        why = f"unable to create new content in namespace {namespace} because it is being terminated"
        raise forbidden(kind, name, why)


def may_not_delete(kind: ResourceType, name: str) -> StatusError | None:
    """Return the refusal to delete a namespace of the system, or None."""
    if kind is NAMESPACES and name in SYSTEM_NAMESPACES:
        return forbidden(kind, name, "this namespace may not be deleted")
    return None


def _complete_namespace(obj: Object) -> Object:
    metadata = obj["metadata"]
    labels = {**metadata.get("labels", {}), "kubernetes.io/metadata.name": metadata["name"]}
    phase = "Terminating" if metadata.get("deletionTimestamp") else "Active"
    return {
        **obj,
        "metadata": {**metadata, "labels": labels},
        "spec": {"finalizers": ["kubernetes"], **obj.get("spec", {})},
        "status": {**obj.get("status", {}), "phase": phase},
    }


def _complete_secret(obj: Object) -> Object:
    plain = {name: value for name, value in obj.items() if name != "stringData"}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in obj.get("stringData", {}).items()}
    data = {**(obj.get("data") or {}), **encoded}
    return {**plain, "type": obj.get("type", "Opaque"), **({"data": data} if data else {})}
