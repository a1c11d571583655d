"""The verbs of the Kubernetes API on classes: `await client.get(Dataset, key)`.

Invariant: a request names its kind by a class, has a deadline, and fails with an `ApiError`.
Neighbours: `writer` has the writes, `http` carries the bytes, `watch` and `cache` read through this.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/.
"""

from __future__ import annotations

import builtins
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Literal, TypeVar

from neptune.api.meta import Json, ListMeta, R, Resource, ResourceKey, ResourceList
from neptune.runtime.answers import encode, parse_object
from neptune.runtime.errors import ApiUnreachable, Gone
from neptune.runtime.http import JSON, REQUEST_SECONDS, ApiSession
from neptune.runtime.query import (
    Query,
    WatchEvent,
    accept,
    decode,
    describe,
    object_path,
    parse_event,
    require_namespace,
)
from neptune.runtime.session import Observer, Session
from neptune.runtime.writer import FieldValidation, StatusWriter, WriteOptions, Writer, Written, refuse_partial

#: client-go's pager (tools/pager/pager.go): bounds what a list costs the server and us at a time.
PAGE_SIZE = 500
#: A continue token lasts some five minutes; a list that outlives it this often is not going to end.
MAX_LIST_RESTARTS = 3
#: kube-apiserver sends a bookmark about once a minute; a watch that is silent for longer is dead.
WATCH_IDLE_SECONDS = 70.0

T = TypeVar("T")
Propagation = Literal["", "Background", "Foreground", "Orphan"]


class Client(Writer):
    """Reads and writes objects of one API server. Nothing is opened before the first request. For one event loop.

    Each method that asks the server raises an ApiError when that refuses or does not answer in time, a SettingsError
    when there is no usable kubeconfig, and a ValueError for a key without a name, or without a namespace where the kind
    needs one. Each names below only what it adds.

    Args:
        kubeconfig: its path; by default found as `access.load_access` says.
        context: the context of the kubeconfig to use instead of its current one.
        field_manager: the name under which the server remembers who wrote which field.
        dry_run: the server checks every write, and stores none.
        field_validation: what the server does about fields that it does not know: Ignore, Warn or Strict (refuse).
        timeout_seconds: the deadline of each request, repetitions included; a watch has it for its first answer.
        session: what carries the requests in the place of HTTP; the three arguments about the way are not used then.
    """

    def __init__(
        self,
        kubeconfig: str | os.PathLike[str] | None = None,
        *,
        context: str | None = None,
        field_manager: str = "neptune",
        dry_run: bool = False,
        field_validation: FieldValidation = "",
        timeout_seconds: float = REQUEST_SECONDS,
        session: Session | None = None,
    ) -> None:
        options = WriteOptions(field_manager, dry_run, field_validation)
        super().__init__(session or ApiSession(kubeconfig, context, timeout_seconds), options, [])
        #: The same writes on the status subresource.
        self.status = StatusWriter(self._http, options, self._observers)

    def observe(self, observer: Callable[[Written], None]) -> None:
        """Call `observer` after each write that the server took, before the write returns."""
        self._observers.append(observer)

    def measure(self, observer: Observer) -> None:
        """Tell `observer` of each request from now on."""
        self._http.observers.append(observer)

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
        return decode(cls, await self._http.request("GET", object_path(cls, key), accept=accept(cls)))

    async def list(
        self, cls: type[R], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> ResourceList[R]:
        """Return the objects of a namespace, or of all, at one version; read in pages of 500.

        Raises:
            DecodeError: one of them does not fit its type.
        """
        items, metadata = await self.collect(
            Query(cls, namespace, label_selector, field_selector), lambda item: decode(cls, encode(item))
        )
        resource = cls.resource
        answer: ResourceList[R] = ResourceList(
            api_version=resource.api_version, kind=f"{resource.kind}List", metadata=metadata
        )
        answer.items = items
        return answer

    async def collect(self, query: Query[R], convert: Callable[[Json], T]) -> tuple[builtins.list[T], ListMeta]:
        """List in pages, converting each item as it comes, so that at most one page is in memory unconverted.

        Raises:
            Gone: the list takes longer than its continue token lasts, three times over.
        """
        for _ in range(MAX_LIST_RESTARTS):
            try:
                return await self._pages(query, convert)
            except _TokenExpired:
                continue
        raise Gone(410, "Expired", f"the list of {describe(query.cls)} takes longer than its continue token lasts")

    async def version(self, query: Query[R]) -> str:
        """Return the resource version that the collection is at now."""
        params = {**query.params, "limit": "1"}
        raw = await self._http.request("GET", query.path, params=params, accept=accept(query.cls, many=True))
        return _page(raw)[1].resource_version

    async def _pages(self, query: Query[R], convert: Callable[[Json], T]) -> tuple[builtins.list[T], ListMeta]:
        items: builtins.list[T] = []
        token = ""
        while True:
            params = {**query.params, "limit": str(PAGE_SIZE), **({"continue": token} if token else {})}
            try:
                raw = await self._http.request("GET", query.path, params=params, accept=accept(query.cls, many=True))
            except Gone as error:
                if token:
                    raise _TokenExpired from error
                raise
            page, metadata = _page(raw)
            items += [convert(item) for item in page]
            token = metadata.continue_
            if not token:
                return items, metadata

    async def create(self, obj: R) -> R:
        """Create the object and return it as the server has it; `metadata.generate_name` may stand for the name.

        Raises:
            AlreadyExists: there is one of that name.
            Invalid: it breaks its schema.
            TypeError: only the metadata is here (a PartialObjectMetadata).
        """
        refuse_partial(type(obj))
        return await self._write("POST", type(obj), obj.key, encode(obj.to_dict()), JSON)

    async def delete(
        self,
        target: Resource | type[Resource],
        key: ResourceKey | None = None,
        *,
        uid: str = "",
        resource_version: str = "",
        grace_seconds: int | None = None,
        propagation: Propagation = "",
    ) -> None:
        """Delete an object, given itself or its class and key.

        An object that was read is deleted only while it is still the same one: its uid is the precondition. With
        `resource_version` it must also be unchanged. `grace_seconds` is how long a pod has to end, 0 for at once;
        `propagation` says what becomes of its dependents; left out, both are the server's choice.

        Raises:
            NotFound: there is none.
            Conflict: there is another one of that name by now, or it changed.
            TypeError: a class is given without a key.
        """
        if isinstance(target, Resource):
            cls, key, uid = type(target), target.key, uid or target.metadata.uid
        elif key is not None:
            cls = target
        else:
            raise TypeError("delete needs an object, or a class and a key")
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        options: Json = {
            "kind": "DeleteOptions",
            "apiVersion": "v1",
            "preconditions": {name: value for name, value in preconditions.items() if value},
        }
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        if propagation:
            options["propagationPolicy"] = propagation
        if self._options.dry_run:
            options["dryRun"] = ["All"]  # the server ignores the URL's when there is a body
        raw = await self._http.request(
            "DELETE",
            object_path(cls, key),
            body=encode(options),
            accept=accept(cls),
        )
        self._tell(_deleted(cls, key, parse_object(raw)))

    async def delete_all(
        self, cls: type[Resource], namespace: str = "", *, label_selector: str = "", field_selector: str = ""
    ) -> None:
        """Delete all objects of a namespace that the selectors match; of all namespaces only where the kind has none.

        Raises:
            ValueError: the kind lives in a namespace, and none is given.
        """
        require_namespace(cls, namespace)
        query = Query(cls, namespace, label_selector, field_selector)
        await self._http.request("DELETE", query.path, params={**query.params, **self._options.dry_run_param()})

    @asynccontextmanager
    async def watch(
        self, query: Query[R], resource_version: str, *, initial: bool = False, timeout_seconds: float = 290.0
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Open a watch from a version on, with bookmarks. The server ends it after `timeout_seconds`.

        With `initial` the objects that are there come first, at least as new as the version (empty: as new as now);
        the bookmark that `ends_initial` ends them (KEP-3157, since Kubernetes 1.27; others answer Invalid).

        This is one request. `Cache` keeps a copy by listing, watching and reconnecting, and is what most want.

        Raises:
            Gone: the version is no longer kept: list again.
            Invalid: the server does not stream lists.
            ApiError: the server refused, the connection broke, or it was silent for 70 s.
        """
        params = {
            **query.params,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(int(timeout_seconds)),
        }
        if initial:
            params |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        lasting = self._http.stream(query.path, params, idle_seconds=WATCH_IDLE_SECONDS, accept=accept(query.cls))
        async with (
            lasting as lines,
            aclosing(_events(lines)) as events,
        ):
            yield events


class _TokenExpired(Exception):
    """A list has to start again: its continue token is too old."""


async def _events(lines: AsyncIterator[bytes]) -> AsyncGenerator[WatchEvent, None]:
    async for line in lines:
        yield parse_event(line)


def _page(raw: bytes) -> tuple[list[Json], ListMeta]:
    """Return the items of a list, or of a page of one, and its metadata."""
    answer = parse_object(raw)
    items, metadata = answer.get("items") or [], answer.get("metadata")
    try:
        if all(isinstance(item["metadata"], dict) for item in items):
            return items, ListMeta.model_validate(metadata)
    except (ValueError, KeyError, TypeError):
        pass
    raise ApiUnreachable(f"the answer is not a list of Kubernetes, is a proxy on the way? {raw[:80]!r}")


def _deleted(cls: type[Resource], key: ResourceKey, answer: Json) -> Written:
    """Read the answer to a deletion: the object while something holds it up, else its last state or a Status."""
    if answer.get("kind") == "Status":
        return Written(cls.resource, key, (answer.get("details") or {}).get("uid", ""))
    metadata = answer.get("metadata") or {}
    lingers = metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds")
    return Written(cls.resource, key, metadata.get("uid", ""), metadata["resourceVersion"] if lingers else "")
