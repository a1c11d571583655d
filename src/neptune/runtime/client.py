"""The verbs of the Kubernetes API on classes: `await client.get(Dataset, key)`.

Invariant: what goes over the wire is what the caller changed, guarded by the version that the caller read, so that a
write neither undoes another's nor repeats itself.
Neighbours: `http` carries the bytes, `watch` and `cache` read through it, reconcilers write through it.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/.
"""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from neptune.api.meta import Json, ListMeta, R, Resource, ResourceKey, ResourceList
from neptune.runtime.errors import ApiUnreachable, DecodeError, Gone, error_from_status
from neptune.runtime.http import JSON, ApiSession

#: client-go's pager (tools/pager/pager.go): bounds what a list costs the server and us at a time.
PAGE_SIZE = 500
#: A continue token lasts some five minutes; a list that outlives it this often is not going to end.
MAX_LIST_RESTARTS = 3
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
#: kube-apiserver sends a bookmark about once a minute; a watch that is silent for longer is dead.
WATCH_IDLE_SECONDS = 70.0

T = TypeVar("T")
Propagation = Literal["", "Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Query(Generic[R]):
    """Which objects of a kind: all, those of a namespace, those that selectors match (kubectl's grammar)."""

    cls: type[R]
    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    @property
    def path(self) -> str:
        """The URL path of the collection."""
        return self.cls.resource.path(self.namespace)

    @property
    def params(self) -> dict[str, str]:
        """The selectors as URL parameters."""
        params = {"labelSelector": self.label_selector, "fieldSelector": self.field_selector}
        return {name: value for name, value in params.items() if value}


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch. `object` of a BOOKMARK holds only `metadata.resourceVersion`."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Json


def decode(cls: type[R], raw: bytes) -> R:
    """Return the object, or raise a DecodeError that names it and the field that does not fit."""
    try:
        return cls.from_json(raw)
    except (ValueError, TypeError) as error:
        metadata = json.loads(raw).get("metadata", {})
        key = ResourceKey(metadata.get("namespace", ""), metadata.get("name", ""))
        raise DecodeError(f"{describe(cls)} {key} does not fit its type, correct it or its schema: {error}") from error


def describe(cls: type[Resource]) -> str:
    """Return the name that kubectl uses for the kind, such as `datasets.neptune.io`."""
    return f"{cls.resource.plural}.{cls.resource.group}" if cls.resource.group else cls.resource.plural


class _Writer:
    """`update`, `patch` and `apply` on an object or one of its subresources."""

    _subresource = ""

    def __init__(self, http: ApiSession, field_manager: str) -> None:
        self._http = http
        self._field_manager = field_manager

    async def update(self, obj: R) -> R:
        """Replace the object by this one and return it as the server has it now.

        Raises:
            Conflict: it changed since it was read.
        """
        return await self._write("PUT", obj, {**_identity(obj), **self._part(obj.to_dict())}, JSON)

    async def patch(self, obj: R) -> R:
        """Send what changed since `obj` was read, and return the object as the server has it now.

        Nothing is sent when nothing changed; then `obj` itself comes back. `obj` keeps its old version: go on with
        the answer.

        Raises:
            Conflict: it changed since it was read.
        """
        patch = self._part(obj.merge_patch())
        if not patch:
            return obj
        if version := obj.metadata.resource_version:
            patch["metadata"] = {**patch.get("metadata", {}), "resourceVersion": version}
        return await self._write("PATCH", obj, patch, MERGE_PATCH)

    async def apply(self, obj: R, *, force: bool = False) -> R:
        """Server-side apply: state the fields that this field manager owns, create the object if it is missing.

        Build `obj` with just those fields; an object that was read would claim all of them. `force` takes fields
        over from other managers.

        Raises:
            Conflict: another manager owns a field, and `force` is False; the message names both.
        """
        body = {**_identity(obj), **self._part(obj.to_dict())}
        body["metadata"].pop("managedFields", None)
        return await self._write("PATCH", obj, body, APPLY_PATCH, force="true" if force else "false")

    def _part(self, body: Json) -> Json:
        """Return what of an object, or of a patch, belongs to this subresource."""
        return body

    async def _write(self, method: str, obj: R, body: Json, content_type: str, **params: str) -> R:
        path = _object_path(type(obj), obj.key) + self._subresource
        params["fieldManager"] = self._field_manager
        raw = await self._http.request(
            method, path, params=params, body=json.dumps(body).encode(), content_type=content_type
        )
        return decode(type(obj), raw)


class StatusWriter(_Writer):
    """Writes the status subresource, and nothing else of the object."""

    _subresource = "/status"

    def _part(self, body: Json) -> Json:
        return {"status": body["status"]} if "status" in body else {}


class Client(_Writer):
    """Reads and writes objects of one API server. Nothing is opened before the first request.

    Args:
        kubeconfig: its path; by default found as `http.load_access` says.
        context: the context of the kubeconfig to use instead of its current one.
        field_manager: the name under which the server remembers who wrote which field.
    """

    def __init__(
        self,
        kubeconfig: str | os.PathLike[str] | None = None,
        *,
        context: str | None = None,
        field_manager: str = "neptune",
    ) -> None:
        super().__init__(ApiSession(kubeconfig, context), field_manager)
        #: The same writes on the status subresource.
        self.status = StatusWriter(self._http, field_manager)

    async def connect(self) -> None:
        """Load the configuration now, to learn of a SettingsError early. Opens no connection."""
        await self._http.connect()

    async def close(self) -> None:
        """Close all connections. Idempotent."""
        await self._http.close()

    async def get(self, cls: type[R], key: ResourceKey) -> R:
        """Return the object as the server has it now.

        Raises:
            NotFound: there is none, or the server does not know the kind.
        """
        return decode(cls, await self._http.request("GET", _object_path(cls, key)))

    async def list(
        self, cls: type[R], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ResourceList[R]:
        """Return the objects of a namespace, or of all, at one version; read in pages of 500.

        Raises:
            DecodeError: one of them does not fit its type.
        """
        items, metadata = await self.collect(
            Query(cls, namespace, label_selector, field_selector), lambda item: decode(cls, json.dumps(item).encode())
        )
        resource = cls.resource
        answer: ResourceList[R] = ResourceList(
            api_version=resource.api_version, kind=f"{resource.kind}List", metadata=metadata
        )
        answer.items = items
        return answer

    async def collect(self, query: Query[R], convert: Callable[[Json], T]) -> tuple[builtins.list[T], ListMeta]:
        """List in pages, converting each item as it comes, so that at most one page is in memory unconverted."""
        for _ in range(MAX_LIST_RESTARTS):
            try:
                return await self._pages(query, convert)
            except _TokenExpired:
                continue
        raise Gone(410, "Expired", f"the list of {describe(query.cls)} takes longer than its continue token lasts")

    async def _pages(self, query: Query[R], convert: Callable[[Json], T]) -> tuple[builtins.list[T], ListMeta]:
        items: builtins.list[T] = []
        token = ""
        while True:
            params = {**query.params, "limit": str(PAGE_SIZE), **({"continue": token} if token else {})}
            try:
                page = json.loads(await self._http.request("GET", query.path, params=params))
            except Gone as error:
                if token:
                    raise _TokenExpired from error
                raise
            items += [convert(item) for item in page.get("items") or []]
            metadata = ListMeta.model_validate(page["metadata"])
            token = metadata.continue_
            if not token:
                return items, metadata

    async def create(self, obj: R) -> R:
        """Create the object and return it as the server has it; `metadata.generate_name` may stand for the name.

        Raises:
            AlreadyExists: there is one of that name.
            Invalid: it breaks its schema.
        """
        _require_namespace(type(obj), obj.metadata.namespace)
        path = obj.resource.path(obj.metadata.namespace)
        raw = await self._http.request(
            "POST", path, params={"fieldManager": self._field_manager}, body=json.dumps(obj.to_dict()).encode()
        )
        return decode(type(obj), raw)

    async def delete(
        self,
        target: Resource | type[Resource],
        key: ResourceKey | None = None,
        *,
        uid: str = "",
        propagation: Propagation = "",
    ) -> None:
        """Delete an object, given itself or its class and key.

        An object that was read is deleted only while it is still the same one: its uid is the precondition.
        `propagation` says what becomes of its dependents; empty leaves that to the server.

        Raises:
            NotFound: there is none.
            Conflict: there is another one of that name by now.
        """
        if isinstance(target, Resource):
            cls, key, uid = type(target), target.key, uid or target.metadata.uid
        elif key is not None:
            cls = target
        else:
            raise TypeError("delete needs an object, or a class and a key")
        options: Json = {"kind": "DeleteOptions", "apiVersion": "v1"}
        if uid:
            options["preconditions"] = {"uid": uid}
        if propagation:
            options["propagationPolicy"] = propagation
        await self._http.request("DELETE", _object_path(cls, key), body=json.dumps(options).encode())

    async def delete_all(
        self, cls: type[Resource], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        """Delete all objects of a namespace that the selectors match."""
        _require_namespace(cls, namespace)
        query = Query(cls, namespace, label_selector, field_selector)
        await self._http.request("DELETE", query.path, params=query.params)

    @asynccontextmanager
    async def watch(
        self, query: Query[R], resource_version: str, *, timeout_seconds: float = 290.0
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Open a watch from a version on, with bookmarks. The server ends it after `timeout_seconds`.

        This is one request. `Cache` keeps a copy by listing, watching and reconnecting, and is what most want.

        Raises:
            Gone: the version is no longer kept: list again.
            ApiError: the server refused, the connection broke, or it was silent for 70 s.
        """
        params = {
            **query.params,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(int(timeout_seconds)),
        }
        async with (
            self._http.stream(query.path, params, idle_seconds=WATCH_IDLE_SECONDS) as lines,
            aclosing(_events(lines)) as events,
        ):
            yield events


class _TokenExpired(Exception):
    """A list has to start again: its continue token is too old."""


async def _events(lines: AsyncIterator[bytes]) -> AsyncGenerator[WatchEvent, None]:
    async for line in lines:
        yield _event(line)


def _event(line: bytes) -> WatchEvent:
    try:
        event = json.loads(line)
        kind, item = event["type"], event["object"]
    except (ValueError, KeyError, TypeError) as error:
        raise ApiUnreachable(f"what came on the watch is not an event, is a proxy on the way? {line[:80]!r}") from error
    if kind == "ERROR":
        raise error_from_status(item)
    return WatchEvent(kind, item)


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


def _object_path(cls: type[Resource], key: ResourceKey) -> str:
    namespace, name = key
    _require_namespace(cls, namespace)
    if not name:
        raise ValueError(f"metadata.name of the {cls.resource.kind} is empty")
    return cls.resource.path(namespace, name)


def _require_namespace(cls: type[Resource], namespace: str) -> None:
    if cls.resource.namespaced and not namespace:
        raise ValueError(f"metadata.namespace is empty; a {cls.resource.kind} lives in a namespace")
