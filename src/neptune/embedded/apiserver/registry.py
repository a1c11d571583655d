"""The verbs of the API on resource types: what a write is checked for, what the server sets, when an object goes.

Pure: the time is in the `Call`, randomness is injected. The order of a write is that of k8s.io/apiserver
`registry/generic`: decode, system fields, status or spec only, validation, then one store operation (none when
nothing changed, or on a dry run). `core` turns HTTP requests into calls.

There is no garbage collector: a deletion looks at finalizers only, whatever the propagation policy; deleting a CRD
removes its objects at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any
from uuid import UUID

from neptune.embedded.apiserver import admission, crds, fieldowners, patch
from neptune.embedded.apiserver.builtin import CRDS, NAMESPACES
from neptune.embedded.apiserver.catalog import Catalog
from neptune.embedded.apiserver.decode import Call, cleaned, identified, pruned, undeclared, with_defaults
from neptune.embedded.apiserver.fieldowners import Claim
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.resources import ResourceType
from neptune.embedded.apiserver.schema import METADATA
from neptune.embedded.apiserver.status import (
    FieldError,
    StatusError,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
)
from neptune.embedded.apiserver.store import Key, Store
from neptune.embedded.apiserver.table import timestamp
from neptune.embedded.apiserver.validation import validate, validate_metadata
from neptune.log import get_logger

log = get_logger()

#: apimachinery `util/rand`: no vowels and no look-alikes, so that no words come up; names end in five of them.
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_GENERATED_BASE_LIMIT = 63 - 5  # apiserver storage/names
_MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"
#: Metadata that only the server sets; what a client sends there is ignored.
_SYSTEM = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "managedFields",
)


@dataclass(frozen=True, slots=True)
class Preconditions:
    """What must hold of the object for a deletion to go through; empty means anything."""

    uid: str = ""
    resource_version: str = ""


class Registry:
    """Writes, and single reads, of objects of every resource type. `watch` has lists and watches."""

    def __init__(self, store: Store, catalog: Catalog, random: Random) -> None:
        self._store = store
        self._catalog = catalog
        self._random = random

    def get(self, kind: ResourceType, namespace: str, name: str) -> Object:
        """Return an object.

        Raises:
            StatusError: 404.
        """
        return kind.present(self._stored(kind, Key(kind.storage, namespace, name)))

    def create(self, call: Call, body: Any) -> Object:
        """Store a new object.

        Raises:
            StatusError: 400, 403 or 404 (its namespace), 409 (exists) or 422.
        """
        return self._create(call, cleaned(call, identified(call, body)))

    def update(self, call: Call, body: Any) -> Object:
        """Replace an object, or its status.

        Raises:
            StatusError: 400, 404, 409 (resourceVersion, uid) or 422.
        """
        obj = cleaned(call, identified(call, body))
        stored = self._stored(call.kind, call.key)
        if not obj["metadata"].get("resourceVersion") and not call.kind.unconditional_update:
            error = FieldError("metadata.resourceVersion", "FieldValueInvalid", 0, "must be specified for an update")
            raise invalid(call.kind.group, call.kind.plural, call.name, [error])
        return self._replace(call, stored, obj)

    def patch(self, call: Call, content_type: str, body: Any) -> Object:
        """Change an object, or its status, by a patch of a content type in `patch.WAYS`.

        Raises:
            StatusError: 400, 404, 409 or 422.
        """
        stored = self._stored(call.kind, call.key)
        patched = patch.WAYS[content_type](call.kind.present(stored), body)
        return self._replace(call, stored, cleaned(call, identified(call, patched), is_patch=True))

    def apply(self, call: Call, body: Any) -> tuple[Object, bool]:
        """Make an object have the sent fields, as `fieldowners` says, or create it; tell whether it was created.

        Raises:
            StatusError: 400, 404, 409 (fields of others), 422, or 500 for fields that the schema does not know.
        """
        if not call.manager:
            error = FieldError("fieldManager", "FieldValueRequired", detail="is required for apply patch")
            raise invalid("meta.k8s.io", "PatchOptions", "", [error])
        obj = identified(call, body, default_name=True)
        if "managedFields" in obj["metadata"]:
            raise bad_request("metadata.managedFields must be nil")
        applied, unknown = pruned(call.kind, obj)
        if unknown:
            raise undeclared(call.kind, body, unknown)
        stored = self._store.get(call.key)
        if stored is None and call.status:
            raise not_found(call.kind, call.name)
        live = call.kind.present(stored) if stored else {}
        me, config = _writer(call, "Apply"), _own_part(call, applied)
        merged, claims = fieldowners.applied(_schema(call.kind), me, live, config, _claims(live), force=call.force)
        obj = with_defaults(call.kind, merged)
        if stored is None:
            return self._create(call, obj, claims), True
        return self._replace(call, stored, obj, claims), False

    def delete(self, call: Call, preconditions: Preconditions) -> Object | None:
        """Delete an object. Return it when finalizers or a namespace's content keep it, None when it is gone.

        Raises:
            StatusError: 404, 409 when a precondition does not hold, 403 for a namespace of the system.
        """
        stored = self._stored(call.kind, call.key)
        if refusal := admission.may_not_delete(call.kind, call.name):
            raise refusal
        metadata = stored["metadata"]
        _check_preconditions(call, metadata, preconditions)
        if call.kind is not NAMESPACES and not metadata.get("finalizers"):
            if not call.dry_run:
                self._remove(call.key)
            return None
        if not metadata.get("deletionTimestamp"):
            stored = self._save(call, _deleting(call, stored))
            if call.kind is NAMESPACES and not call.dry_run:
                self._empty_namespace(call)
        return call.kind.present(stored)

    def _stored(self, kind: ResourceType, key: Key) -> Object:
        stored = self._store.get(key)
        if stored is None:
            raise not_found(kind, key.name)
        return stored

    def _create(self, call: Call, obj: Object, claims: list[Claim] | None = None) -> Object:
        metadata = {name: value for name, value in obj["metadata"].items() if name not in _SYSTEM}
        if metadata.pop("resourceVersion", ""):
            raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            suffix = "".join(self._random.choices(_NAME_LETTERS, k=5))
            metadata["name"] = f"{metadata['generateName'][:_GENERATED_BASE_LIMIT]}{suffix}"
        call.name = metadata.get("name", "")
        admission.check_namespace(self._store, call.kind, call.namespace, call.name)
        uid = UUID(int=self._random.getrandbits(128), version=4)
        metadata |= {"uid": str(uid), "creationTimestamp": timestamp(call.now)}
        if call.kind.generation:
            metadata["generation"] = 1
        obj = {**obj, "metadata": metadata}
        if call.kind.status:
            obj.pop("status", None)
        if claims is None:
            claims = fieldowners.updated(_schema(call.kind), _writer(call, "Update"), {}, obj, [])
        metadata |= _managed_fields(claims)
        valid = _valid(call, obj, None)
        if self._store.get(call.key):
            raise already_exists(call.kind, call.name)
        return call.kind.present(self._save(call, valid))

    def _replace(self, call: Call, stored: Object, obj: Object, claims: list[Claim] | None = None) -> Object:
        """Store `obj`, a cleaned object, in the place of `stored`: its status, or everything but its status."""
        before = call.kind.present(stored)
        _check_same(call, obj["metadata"], before["metadata"])
        sent = _claims(obj, before)
        if call.status:
            rest = {name: value for name, value in before.items() if name != "status"}
            obj = {**rest, **({"status": obj["status"]} if "status" in obj else {})}
        elif call.kind.status:
            rest = {name: value for name, value in obj.items() if name != "status"}
            obj = {**rest, **({"status": before["status"]} if "status" in before else {})}
        kept = ("resourceVersion", *(name for name in _SYSTEM if name != "managedFields"))
        system = {name: before["metadata"][name] for name in kept if name in before["metadata"]}
        own = {name: value for name, value in obj["metadata"].items() if name not in _SYSTEM}
        metadata = {**own, **system}
        obj = {**obj, "metadata": metadata}
        if claims is None:
            claims = fieldowners.updated(_schema(call.kind), _writer(call, "Update"), before, obj, sent)
        metadata |= _managed_fields(claims)
        obj = _valid(call, obj, before)
        if call.kind.generation and not call.status and _without_metadata(obj) != _without_metadata(before):
            obj["metadata"]["generation"] += 1
        if obj == before:
            return before
        if obj["metadata"].get("deletionTimestamp") and not obj["metadata"].get("finalizers"):
            if call.kind is not NAMESPACES and not call.dry_run:
                self._remove(call.key)
            return obj
        return call.kind.present(self._save(call, obj))

    def _save(self, call: Call, obj: Object) -> Object:
        stored = call.kind.to_storage(obj)
        if call.dry_run:
            return stored
        stored = self._store.put(call.key, stored)
        if call.kind is CRDS:
            self._catalog.serve(stored)
            if crds.has_rules(stored) and stored["metadata"]["generation"] == 1:
                log.warning("validation rules are not evaluated", crd=call.name)
        return stored

    def _remove(self, key: Key) -> None:
        removed = self._store.get(key)
        self._store.delete(key)
        if key.resource == CRDS.storage and removed:
            for each, _ in self._store.list(removed["metadata"]["name"]):
                self._store.delete(each)
            self._catalog.withdraw(removed)
        self._finish_namespace(key.namespace)

    def _empty_namespace(self, call: Call) -> None:
        """Delete all that a namespace holds, as the namespace controller does."""
        for kind in {each.storage: each for each in self._catalog if each.namespaced}.values():
            for key, _ in self._store.list(kind.storage, call.name):
                self.delete(Call(kind, key.namespace, key.name, call.now), Preconditions())
        self._finish_namespace(call.name)

    def _finish_namespace(self, name: str) -> None:
        key = Key(NAMESPACES.storage, "", name)
        namespace = self._store.get(key)
        if namespace and namespace["metadata"].get("deletionTimestamp"):
            storages = {kind.storage for kind in self._catalog if kind.namespaced}
            if not any(self._store.list(storage, name) for storage in storages):
                self._store.delete(key)


def _valid(call: Call, obj: Object, before: Object | None) -> Object:
    """Return the object completed by its kind's own rules.

    Raises:
        StatusError: 422.
    """
    kind = call.kind
    errors = validate_metadata(obj["metadata"], label_name=kind is NAMESPACES)
    if call.status:
        errors += _status_errors(kind.schema, obj.get("status"), (before or {}).get("status"))
    else:
        errors += validate(kind.schema, obj, before=before) if before else validate(kind.schema, obj)
    if kind is CRDS and not errors:
        errors += crds.errors(obj)
    if before and before["metadata"].get("deletionTimestamp"):
        errors += _finalizers_added(obj["metadata"], before["metadata"])
    if errors:
        raise invalid(kind.group, kind.kind, call.name, errors)
    for name in obj["metadata"].get("finalizers", ()):
        if "/" not in name:
            why = "prefer a domain-qualified finalizer name to avoid accidental conflicts with other finalizer writers"
            call.warnings.append(f'metadata.finalizers: "{name}": {why}')
    return admission.complete(kind, obj, before, call.now)


def _status_errors(schema: Object, status: Any, before: Any) -> list[FieldError]:
    """Return what is wrong with a status alone; the texts name fields from there, as the real server's do."""
    declared = schema.get("properties", {}).get("status", {})
    if status is None:
        return []
    return [replace(each, field=f"status.{each.field}") for each in validate(declared, status, before=before)]


def _finalizers_added(metadata: Object, before: Object) -> list[FieldError]:
    added = [name for name in metadata.get("finalizers", ()) if name not in before.get("finalizers", ())]
    if not added:
        return []
    shown = ", ".join(f'"{name}"' for name in added)
    detail = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}"
    return [FieldError("metadata.finalizers", "FieldValueForbidden", detail=detail)]


def _check_same(call: Call, sent: Object, has: Object) -> None:
    """Refuse a write that was made for another object or an earlier version of this one."""
    if sent.get("uid", has["uid"]) != has["uid"]:
        why = f"Precondition failed: UID in precondition: {sent['uid']}, UID in object meta: {has['uid']}"
        raise conflict(call.kind.group, call.kind.plural, call.name, why)
    if sent.get("resourceVersion", has["resourceVersion"]) != has["resourceVersion"]:
        raise conflict(call.kind.group, call.kind.plural, call.name, _MODIFIED)


def _check_preconditions(call: Call, has: Object, wanted: Preconditions) -> None:
    """Refuse to delete another object or version than the client means (apiserver registry/rest/delete.go)."""
    for what, value, found, hint in (
        ("UID", wanted.uid, has["uid"], "deleted and then recreated"),
        ("ResourceVersion", wanted.resource_version, has["resourceVersion"], "modified"),
    ):
        if value and value != found:
            why = f"the {what} in the precondition ({value}) does not match the {what} in record ({found})"
            why = f"{why}. The object might have been {hint}"
            raise conflict(call.kind.group, call.kind.kind, call.name, why)


def _deleting(call: Call, stored: Object) -> Object:
    """Return an object marked as being deleted (rest/delete.go, markAsDeleting)."""
    metadata = {
        **stored["metadata"],
        "deletionTimestamp": timestamp(call.now),
        **({} if call.kind is NAMESPACES else {"deletionGracePeriodSeconds": 0}),
    }
    if "generation" in metadata:
        metadata["generation"] += 1
    return admission.complete(call.kind, {**stored, "metadata": metadata}, stored, call.now)


def _schema(kind: ResourceType) -> Object:
    return {"properties": {**kind.schema.get("properties", {}), "metadata": METADATA}}


def _own_part(call: Call, applied: Object) -> Object:
    """Return what an apply may set: the status alone through its subresource, else all but that."""
    if call.status:
        identity = {name: value for name, value in applied["metadata"].items() if name in ("uid", "resourceVersion")}
        return {"metadata": identity, **({"status": applied["status"]} if "status" in applied else {})}
    return {name: value for name, value in applied.items() if name != "status" or not call.kind.status}


def _writer(call: Call, operation: str) -> Claim:
    manager = call.manager or call.agent or "unknown"
    subresource = "status" if call.status else ""
    return Claim(manager, operation, call.kind.api_version, subresource, timestamp(call.now))


def _managed_fields(claims: list[Claim]) -> Object:
    return {"managedFields": fieldowners.write(claims)} if claims else {}


def _claims(obj: Object, before: Object | None = None) -> list[Claim]:
    """Return who owns the fields: as the object says or, if that is empty or unreadable, as the one before did.

    An entry without anything in it resets the owners (apimachinery managedfields/internal/fieldmanager.go).
    """
    entries = obj.get("metadata", {}).get("managedFields", [])
    if entries == [{}]:
        return []
    try:
        claims = fieldowners.read(entries)
    except (ValueError, TypeError, KeyError, AttributeError):
        claims = []
    return claims or (_claims(before) if before else [])


def _without_metadata(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name != "metadata"}
