"""A Kubernetes API server for one machine as one function of a request and the time: `ApiServer.handle`.

Pure: no I/O, no clock, no event loop, so that a simulation runs it on virtual time; `http` serves it to kubectl. It
serves CustomResourceDefinitions as kube-apiserver does, and a few built-in kinds without their controllers. Missing:
authorisation, admission webhooks, conversion between versions, CEL rules, field ownership, garbage collection,
persistence. For the demo, tests and simulation; it is not Kubernetes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from random import Random

from neptune.embedded.apiserver import discovery, request, table
from neptune.embedded.apiserver.admission import SYSTEM_NAMESPACES
from neptune.embedded.apiserver.builtin import NAMESPACES
from neptune.embedded.apiserver.catalog import Catalog
from neptune.embedded.apiserver.decode import Call
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.patch import APPLY
from neptune.embedded.apiserver.registry import Registry
from neptune.embedded.apiserver.request import Request, Response, Shape, Target
from neptune.embedded.apiserver.resources import ResourceType
from neptune.embedded.apiserver.status import StatusError, bad_request, not_supported_on, unknown_path
from neptune.embedded.apiserver.store import HISTORY_LIMIT, Snapshot, Store
from neptune.embedded.apiserver.watch import WatchStream, check_not_ahead, list_page, read_revision

_HEALTH = ("/livez", "/readyz", "/healthz")


class Watch:
    """A watch being answered: `stream` collects, `take` returns the events as the client wants to see them.

    `timeout_seconds` is what the client asked for, 0 when it left that to the server.
    """

    def __init__(self, stream: WatchStream, render: Renderer, timeout_seconds: int) -> None:
        self.stream = stream
        self.timeout_seconds = timeout_seconds
        self._render = render
        self._headers = True

    def take(self, now: datetime) -> list[Object]:
        """Return the events since the last call as `{"type": ..., "object": ...}`, oldest first."""
        events = []
        for event in self.stream.take():
            shaped = event.object
            if event.type != "ERROR":
                shaped = self._render.one(event.object, now, headers=self._headers)
                self._headers = False
            events.append({"type": event.type, "object": shaped})
        return events


class ApiServer:
    """The whole server without a socket.

    Args:
        now: the time of its birth, which its own namespaces carry.
        random: where uids and generated names come from; seed it and they repeat.
        history_limit: events kept a resource; a watch or a page from before them gets 410.
    """

    def __init__(self, now: datetime, *, random: Random | None = None, history_limit: int = HISTORY_LIMIT) -> None:
        self._store = Store(history_limit=history_limit)
        self._catalog = Catalog()
        self._registry = Registry(self._store, self._catalog, random or Random())  # noqa: S311 (names, not secrets)
        for name in SYSTEM_NAMESPACES:
            self._registry.create(Call(NAMESPACES, "", "", now), {"metadata": {"name": name}})

    @property
    def revision(self) -> int:
        """The resourceVersion of the last write."""
        return self._store.revision

    def compact(self, revision: int) -> None:
        """Forget the history up to `revision`: watches and pages from before it get 410, as after etcd's compaction."""
        self._store.compact(revision)

    def snapshot(self) -> Snapshot:
        """Return the objects of now, for `restore`."""
        return self._store.snapshot()

    def skip(self, revisions: int) -> None:
        """Count revisions that nobody sees, as in a busy cluster those of other resources' writes are."""
        self._store.skip(revisions)

    def restore(self, snapshot: Snapshot, *, bump_revision: int = 0) -> None:
        """Go back to an earlier state, as after a restored backup of etcd. Whoever serves this ends all watches first.

        Revisions go back too, unless `bump_revision` is added to the one of the backup, as etcd's manual has it.

        The kinds that are served stay as they are: no CustomResourceDefinition may have changed since.
        """
        self._store.restore(snapshot, bump_revision=bump_revision)

    def handle(self, asked: Request, now: datetime) -> Response | Watch:
        """Answer one request at the time `now`. Never raises for what a client sent: a refusal is a Status."""
        try:
            return self._answer(asked, now)
        except StatusError as error:
            return Response(error.code, error.status)
        except RecursionError:
            return Response(400, bad_request("the body of the request is nested too deeply").status)

    def _answer(self, asked: Request, now: datetime) -> Response | Watch:
        if asked.path in _HEALTH:
            return Response(200, "ok")
        if asked.path == "/openapi/v2":
            # As protobuf, a document without definitions: kubectl, which checks a List by it, then checks nothing.
            return Response(200, "")
        if asked.method == "GET" and (found := discovery.document(self._catalog, asked.path)):
            return Response(200, found)
        target = request.target(self._catalog, asked.path)
        if target is None and asked.path.startswith("/api/"):
            raise unknown_path()
        if target is None or (asked.method == "POST" and target.kind.namespaced and not target.namespace):
            return Response(404, "404 page not found\n")
        if asked.method == "GET":
            return self._read(asked, target, now)
        return self._write(asked, target, now)

    def _read(self, asked: Request, target: Target, now: datetime) -> Response | Watch:
        render = Renderer(target.kind, request.shape(asked.accept), asked.query.get("includeObject", "Metadata"))
        if target.name:
            check_not_ahead(self._store, read_revision(asked.query.get("resourceVersion", "") or "0"))
            return Response(200, render.one(self._registry.get(target.kind, target.namespace, target.name), now))
        selection, options = request.selection(asked, target), request.list_options(asked)
        if request.flag(asked.query, "watch"):
            timeout = request.number(asked.query, "timeoutSeconds")
            return Watch(WatchStream(self._store, selection, options), render, timeout)
        return Response(200, render.many(list_page(self._store, selection, options), now))

    def _write(self, asked: Request, target: Target, now: datetime) -> Response:
        call = request.call(asked, target, now)
        if asked.method == "DELETE" and not target.subresource:
            return self._delete(asked, target, call)
        code = 200
        match asked.method, bool(target.name):
            case "POST", False:
                obj, code = self._registry.create(call, request.body(asked)), 201
            case "PUT", True:
                obj = self._registry.update(call, request.body(asked))
            case "PATCH", True:
                media = request.patch_type(asked, target.kind)
                body = request.body(asked)
                if media == APPLY:
                    obj, created = self._registry.apply(call, body)
                    code = 201 if created else 200
                else:
                    obj = self._registry.patch(call, media, body)
            case "PUT" | "PATCH", False:
                raise bad_request("name must be provided")
            case _:
                actions = {"DELETE": "delete", "POST": "create"}
                raise not_supported_on(target.kind, actions.get(asked.method, asked.method.lower()))
        shaped = Renderer(target.kind, request.shape(asked.accept)).one(obj, now)
        return Response(code, shaped, tuple(call.warnings))

    def _delete(self, asked: Request, target: Target, call: Call) -> Response:
        options = request.delete_options(asked)
        call.dry_run = call.dry_run or bool(options.get("dryRun"))
        if not target.name:
            return Response(200, self._delete_all(asked, target, call))
        deleted = self._registry.get(call.kind, call.namespace, call.name)
        kept = self._registry.delete(call, request.preconditions(options))
        return Response(200, kept if kept is not None else _success(target.kind, deleted))

    def _delete_all(self, asked: Request, target: Target, call: Call) -> Object:
        page = list_page(self._store, request.selection(asked, target), request.list_options(asked))
        for obj in page["items"]:
            metadata = obj["metadata"]
            one = replace(call, namespace=metadata.get("namespace", ""), name=metadata["name"])
            self._registry.delete(one, request.preconditions({}))
        return page


class Renderer:
    """Objects in the shape that a client accepts."""

    def __init__(self, kind: ResourceType, shape: Shape, include: str = "Metadata") -> None:
        self._kind = kind
        self._shape = shape
        self._include = include

    def one(self, obj: Object, now: datetime, *, headers: bool = True) -> Object:
        """Return one object."""
        if self._shape == "Table":
            metadata = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            is_bookmark = "name" not in obj["metadata"]
            return self._table([] if is_bookmark else [obj], metadata, now, headers=headers)
        return obj if self._shape == "Object" else table.partial_metadata(obj)

    def many(self, page: Object, now: datetime) -> Object:
        """Return a list."""
        if self._shape == "Table":
            return self._table(page["items"], page["metadata"], now, headers=True)
        if self._shape == "Object":
            return page
        items = [table.partial_metadata(obj) for obj in page["items"]]
        head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return {**head, "metadata": page["metadata"], "items": items}

    def _table(self, items: Sequence[Object], metadata: Object, now: datetime, *, headers: bool) -> Object:
        return table.render(
            self._kind.columns, items, metadata=metadata, now=now, include=self._include, headers=headers
        )


def _success(kind: ResourceType, deleted: Object) -> Object:
    details = {"name": deleted["metadata"]["name"], "group": kind.group, "kind": kind.plural}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {**{k: v for k, v in details.items() if v}, "uid": deleted["metadata"]["uid"]},
    }
