"""Lists and watches: which objects a request selects, in pages, and how it goes on from a resourceVersion.

Pure: a `WatchStream` collects events between two calls of `take`; its bound is what a slow reader may lag behind.
`registry` opens both, `core` renders them. Semantics: https://kubernetes.io/docs/reference/using-api/api-concepts/.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from neptune.api import selectors
from neptune.api.selectors import Selector
from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.resources import ResourceType
from neptune.embedded.apiserver.status import StatusError, bad_request, expired, too_large_resource_version
from neptune.embedded.apiserver.store import Change, Compacted, Store

#: Events that may wait for a slow reader before its watch is ended; it then lists again.
PENDING_LIMIT = 1000

INITIAL_EVENTS_END = {"k8s.io/initial-events-end": "true"}
_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event of a watch; `object` has the shape of the watched version, or is a Status for ERROR."""

    type: EventType
    object: Object


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or a watch covers."""

    kind: ResourceType
    namespace: str = ""
    labels: Selector = ()
    fields: Selector = ()

    def matches(self, obj: Object) -> bool:
        """Tell whether an object, in the shape of `kind`, is covered; its namespace is not looked at."""
        labels = obj["metadata"].get("labels") or {}
        return selectors.matches(self.labels, labels) and (
            not self.fields or selectors.matches(self.fields, self.kind.fields(obj))
        )


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Query parameters of a list or a watch that are about versions and pages."""

    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_token: str = ""
    bookmarks: bool = False
    send_initial_events: bool | None = None


def list_page(store: Store, selection: Selection, options: ListOptions) -> Object:
    """Return the List object of one page.

    Raises:
        StatusError: 400 for a token that is none, 410 for a version that was compacted, 504 for one to come.
    """
    kind = selection.kind
    revision, start = store.revision, ("", "")
    try:
        asked = read_revision(options.resource_version or "0")
    except StatusError as error:
        raise bad_request(f"invalid resource version: {error}") from error
    if options.continue_token:
        revision, start = _read_token(options.continue_token)
    elif options.resource_version_match == "Exact":
        revision = asked
    check_not_ahead(store, max(revision, asked))
    try:
        stored = store.list(kind.storage, selection.namespace, at=revision)
    except Compacted as error:
        raise expired(_CONTINUE_EXPIRED if options.continue_token else _too_old(revision, error)) from error
    keyed = [((key.namespace, key.name), kind.present(obj)) for key, obj in stored]
    found = [(key, obj) for key, obj in keyed if key > start and selection.matches(obj)]
    metadata: Object = {"resourceVersion": str(revision)}
    page = found[: options.limit] if options.limit else found
    if len(page) < len(found):
        metadata["continue"] = _write_token(revision, page[-1][0])
        if not selection.labels and not selection.fields:
            metadata["remainingItemCount"] = len(found) - len(page)
    return {
        "kind": kind.list_kind or f"{kind.kind}List",
        "apiVersion": kind.api_version,
        "metadata": metadata,
        "items": [obj for _, obj in page],
    }


class WatchStream:
    """The events of one watch, from its start on.

    `take` hands out what has come; `on_event` is called whenever there may be more. After `ended` turns true and
    `take` is empty, nothing comes any more. `overflowed` tells that the reader was too slow.
    """

    def __init__(self, store: Store, selection: Selection, options: ListOptions, *, limit: int = PENDING_LIMIT):
        self._store = store
        self._selection = selection
        self._pending: deque[WatchEvent] = deque()
        self._wants_bookmarks = options.bookmarks
        self.ended = False
        self.overflowed = False
        self.on_event: Callable[[], None] | None = None
        asked = read_revision(options.resource_version or "0")
        try:
            self._start(options, asked)
        except StatusError as error:
            # cacher.go: once the version is parsed, what goes wrong is told by an ERROR event in a 200 answer.
            self._pending.append(WatchEvent("ERROR", error.status))
            self.ended = True
        self._limit = limit + len(self._pending)  # what was there from the start is not the reader's delay
        self._stop: Callable[[], None] | None = None
        if not self.ended:
            self._stop = store.listen(selection.kind.storage, self._live)

    def take(self) -> list[WatchEvent]:
        """Return the events that have come since the last call, oldest first."""
        events = list(self._pending)
        self._pending.clear()
        return events

    def bookmark(self) -> None:
        """Add a BOOKMARK with the present resourceVersion, where the client allowed them."""
        if self._wants_bookmarks and not self.ended:
            self._append(self._bookmark({}))

    def close(self) -> None:
        """End the stream. Idempotent."""
        if self._stop:
            self._stop()
        self.ended = True
        if self.on_event:
            self.on_event()

    def _start(self, options: ListOptions, asked: int) -> None:
        kind = self._selection.kind
        check_not_ahead(self._store, asked)
        if options.send_initial_events or (asked == 0 and options.send_initial_events is None):
            for _, stored in self._store.list(kind.storage, self._selection.namespace):
                obj = kind.present(stored)
                if self._selection.matches(obj):
                    self._pending.append(WatchEvent("ADDED", obj))
            if options.send_initial_events and options.bookmarks:
                self._pending.append(self._bookmark({"annotations": INITIAL_EVENTS_END}))
        elif asked:
            try:
                changes = list(self._store.since(kind.storage, asked))
            except Compacted as error:
                raise expired(_too_old(asked, error)) from error
            for change in changes:
                if event := self._event(change):
                    self._pending.append(event)

    def _live(self, change: Change) -> None:
        if event := self._event(change):
            self._append(event)

    def _append(self, event: WatchEvent) -> None:
        if len(self._pending) >= self._limit:
            self.overflowed = True
            self._pending.clear()
            self.close()
            return
        self._pending.append(event)
        if self.on_event:
            self.on_event()

    def _event(self, change: Change) -> WatchEvent | None:
        """Return what a change means to this selection: an object may enter and leave it by its labels."""
        if self._selection.namespace not in ("", change.key.namespace):
            return None
        before = self._seen(change.before)
        after = self._seen(change.after)
        if after is not None:
            return WatchEvent("MODIFIED" if before is not None else "ADDED", after)
        if before is None:
            return None
        metadata = {**before["metadata"], "resourceVersion": str(change.revision)}
        return WatchEvent("DELETED", {**before, "metadata": metadata})

    def _seen(self, stored: Object | None) -> Object | None:
        if stored is None:
            return None
        obj = self._selection.kind.present(stored)
        return obj if self._selection.matches(obj) else None

    def _bookmark(self, metadata: Object) -> WatchEvent:
        kind = self._selection.kind
        metadata = {"resourceVersion": str(self._store.revision), **metadata}
        return WatchEvent("BOOKMARK", {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata})


def read_revision(text: str) -> int:
    """Return a resourceVersion as a number.

    Raises:
        StatusError: 500 as in the real server, it is none.
    """
    if not text.isdecimal():
        why = f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise StatusError(500, "", f"resourceVersion: {why}")
    return int(text)


def check_not_ahead(store: Store, revision: int) -> None:
    """Refuse a version that is yet to come.

    Raises:
        StatusError: 504.
    """
    if revision > store.revision:
        raise too_large_resource_version(revision, store.revision)


def _too_old(revision: int, error: Compacted) -> str:
    return f"too old resource version: {revision} ({error.oldest})"


def _write_token(revision: int, last: tuple[str, str]) -> str:
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": list(last)})
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        read = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, name = read["start"]
        return int(read["rv"]), (str(namespace), str(name))
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise bad_request(
            "invalid continue token: continue key is not valid: take it from the list that you want to go on with"
        ) from error
