"""The writes of the Kubernetes API on an object or on its status.

Invariant: what goes over the wire is what the caller changed, guarded by the version that the caller read, so that a
write neither undoes another's nor repeats itself. Each write that the server took is told to the observers, so that a
cache can wait for it.
Neighbours: `client` is one of these and adds the reads; `http` carries the bytes; `ownwrites` observes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from neptune.api.meta import Json, R, Resource, ResourceKey, ResourceType
from neptune.api.unstructured import PartialObjectMetadata
from neptune.runtime.answers import encode
from neptune.runtime.http import JSON
from neptune.runtime.query import accept, decode, object_path, require_namespace
from neptune.runtime.session import Session

MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML

FieldValidation = Literal["", "Ignore", "Warn", "Strict"]


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """What goes with every write. The server's default for an empty `field_validation` is Warn."""

    field_manager: str
    dry_run: bool = False
    field_validation: FieldValidation = ""

    def params(self) -> dict[str, str]:
        """Return the URL parameters of a write that has a body."""
        params = {"fieldManager": self.field_manager, "fieldValidation": self.field_validation, **self.dry_run_param()}
        return {name: value for name, value in params.items() if value}

    def dry_run_param(self) -> dict[str, str]:
        """Return the URL parameter that makes any write a rehearsal, if this is one."""
        return {"dryRun": "All"} if self.dry_run else {}


@dataclass(frozen=True, slots=True)
class Written:
    """A write that the server took: `version` is the object's resource version since then.

    A deletion has no version; the object is gone when there is none of that `uid` any more. `raw` is the object as it
    is since then, empty when that is not known.
    """

    resource: ResourceType
    key: ResourceKey
    uid: str
    version: str = ""
    raw: bytes = field(default=b"", compare=False, repr=False)


class Writer:
    """`update`, `patch`, `json_patch` and `apply` on an object or one of its subresources."""

    _subresource = ""

    def __init__(self, http: Session, options: WriteOptions, observers: list[Callable[[Written], None]]) -> None:
        self._http = http
        self._options = options
        self._params = options.params()
        self._observers = observers

    async def update(self, obj: R) -> R:
        """Replace the object by this one and return it as the server has it now.

        Nothing is sent when nothing changed since `obj` was read; then `obj` itself comes back.

        Raises:
            Conflict: it changed since it was read.
            TypeError: only the metadata is here (a PartialObjectMetadata).
        """
        refuse_partial(type(obj))
        if not self._changed(obj):
            return obj
        body = encode({**_identity(obj), **self._part(obj.to_dict())})
        return await self._write("PUT", type(obj), obj.key, body, JSON)

    async def patch(self, obj: R) -> R:
        """Send what changed since `obj` was read, and return the object as the server has it now.

        A JSON merge patch (RFC 7396): a list that changed is replaced whole. Nothing is sent when nothing changed;
        then `obj` itself comes back. `obj` keeps its old version: go on with the answer.

        Raises:
            Conflict: it changed since it was read.
        """
        patch = self._changed(obj)
        if not patch:
            return obj
        if version := obj.metadata.resource_version:
            patch["metadata"] = {**patch.get("metadata", {}), "resourceVersion": version}
        return await self._write("PATCH", type(obj), obj.key, encode(patch), MERGE_PATCH)

    async def json_patch(self, cls: type[R], key: ResourceKey, operations: Sequence[Json]) -> R:
        """Carry out the operations (RFC 6902), all or none, and return the object as the server has it now.

        Needs no read before: an operation `test` guards the others, for instance on `/metadata/uid`.

        >>> await client.json_patch(Widget, key, [
        ...     {"op": "test", "path": "/spec/size", "value": 1},
        ...     {"op": "replace", "path": "/spec/size", "value": 2},
        ... ])  # doctest: +SKIP

        Raises:
            Invalid: a test failed, or a path is not there.
            NotFound: there is no such object.
        """
        return await self._write("PATCH", cls, key, encode(list(operations)), JSON_PATCH)

    async def apply(self, obj: R, *, force: bool = False) -> R:
        """Server-side apply: state the fields that this field manager owns, create the object if it is missing.

        Build `obj` with just those fields; an object that was read would claim all of them. `force` takes fields
        over from other managers. It is always sent; when it changes nothing, the server makes no write of it.

        Raises:
            Conflict: another manager owns a field, and `force` is False; `conflicts` and the message name both.
        """
        body = {**_identity(obj), **self._part(obj.to_dict())}
        # A custom resource with empty labels is stored anew each time it is applied (seen with 1.36), and the event of
        # that write would call for the next apply.
        body["metadata"] = {
            name: value for name, value in body["metadata"].items() if value and name != "managedFields"
        }
        force_param = "true" if force else "false"
        return await self._write("PATCH", type(obj), obj.key, encode(body), APPLY_PATCH, {"force": force_param})

    def _changed(self, obj: Resource) -> Json:
        """Return what changed of this subresource since the object was read, as a merge patch."""
        return obj.merge_patch()

    def _part(self, body: Json) -> Json:
        """Return what of an object belongs to this subresource."""
        return body

    async def _write(
        self,
        method: str,
        cls: type[R],
        key: ResourceKey,
        body: bytes,
        content_type: str,
        params: dict[str, str] | None = None,
    ) -> R:
        """Send the body to the object, or to the collection when the method is POST."""
        if method == "POST":
            require_namespace(cls, key.namespace)
            path = cls.resource.path(key.namespace)
        else:
            path = object_path(cls, key) + self._subresource
        raw = await self._http.request(
            method,
            path,
            params={**self._params, **params} if params else self._params,
            body=body,
            content_type=content_type,
            accept=accept(cls),
        )
        obj = decode(cls, raw)
        self._tell(Written(cls.resource, obj.key, obj.metadata.uid, obj.metadata.resource_version, raw))
        return obj

    def _tell(self, written: Written) -> None:
        if not self._options.dry_run:
            for observe in self._observers:
                observe(written)


class StatusWriter(Writer):
    """Writes the status subresource, and nothing else of the object."""

    _subresource = "/status"

    def _changed(self, obj: Resource) -> Json:
        return obj.status_patch()

    def _part(self, body: Json) -> Json:
        return {"status": body["status"]} if "status" in body else {}


def refuse_partial(cls: type[Resource]) -> None:
    """Raise a TypeError for a class that holds the metadata alone: writing it whole would empty the object."""
    if issubclass(cls, PartialObjectMetadata):
        raise TypeError(
            f"only the metadata of the {cls.resource.kind} is here: patch it, or use a class with its fields"
        )


def _identity(obj: Resource) -> Json:
    """Return what tells the server which object is meant, and at which version."""
    metadata = {
        "name": obj.metadata.name,
        "namespace": obj.metadata.namespace,
        "resourceVersion": obj.metadata.resource_version,
    }
    return {
        "apiVersion": obj.api_version,
        "kind": obj.kind,
        "metadata": {name: value for name, value in metadata.items() if value},
    }
