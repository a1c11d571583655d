"""The reconciler library: typed client, informer cache, work queue, controllers and their manager.

It works for any `neptune.api.meta.Resource` and names no kind. In the order of what stands on what:

- `errors`: what an API server may answer.          - `sources`, `predicates`: what names keys, and which changes count.
- `http`, `query`, `writer`, `client`: requests.                  - `queue`: which key is next.
- `watch`, `cache`: a copy that stays true.         - `controller`, `manager`: who calls your function, and when.

    async def reconcile(ctx, key):
        dataset = ctx.cache.get(Dataset, key)   # a private copy, or None when it is gone
        ...

    manager = Manager()
    manager.controller(Dataset, reconcile, workers=8)
    manager.run()
"""

from neptune.runtime.cache import Cache, Change, Informer
from neptune.runtime.client import Client
from neptune.runtime.controller import Context, Controller, RequeueAfter
from neptune.runtime.errors import (
    AlreadyExists,
    ApiError,
    ApiUnreachable,
    BadRequest,
    Conflict,
    DecodeError,
    FieldConflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    NotWatched,
    ServerError,
    TerminalError,
    TooManyRequests,
    Unauthorized,
)
from neptune.runtime.manager import Manager, Runnable
from neptune.runtime.predicates import GenerationChanged, Predicate, ResourceVersionChanged
from neptune.runtime.query import Query, WatchEvent
from neptune.runtime.queue import WorkQueue
from neptune.runtime.sources import Keys, Mailbox, Source
from neptune.runtime.watch import Snapshot
from neptune.runtime.writer import StatusWriter, Writer

__all__ = [
    "AlreadyExists",
    "ApiError",
    "ApiUnreachable",
    "BadRequest",
    "Cache",
    "Change",
    "Client",
    "Conflict",
    "Context",
    "Controller",
    "DecodeError",
    "FieldConflict",
    "Forbidden",
    "GenerationChanged",
    "Gone",
    "Informer",
    "Invalid",
    "Keys",
    "Mailbox",
    "Manager",
    "NotFound",
    "NotWatched",
    "Predicate",
    "Query",
    "RequeueAfter",
    "ResourceVersionChanged",
    "Runnable",
    "ServerError",
    "Snapshot",
    "Source",
    "StatusWriter",
    "TerminalError",
    "TooManyRequests",
    "Unauthorized",
    "WatchEvent",
    "WorkQueue",
    "Writer",
]
