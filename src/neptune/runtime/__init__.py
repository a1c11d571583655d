"""The reconciler library: typed client, informer cache, work queue, controllers and their manager.

It works for any `neptune.api.meta.Resource` and names no kind. In the order of what stands on what:

- `errors`: what an API server may answer.            - `sources`, `mappers`, `predicates`: what names keys, and when.
- `http`, `query`, `writer`, `client`: requests.      - `queue`: which key is next.
- `watch`, `informer`, `cache`: a copy that stays true. - `context`, `controller`, `manager`: who calls your function.
- `owners`, `finalizers`: whose an object is, and what happens before it goes.
- `events`: what people are told.                     - `leader`: which replica works.
- `watchdog`: whose function blocks the loop.

    async def reconcile(ctx, key):
        dataset = ctx.cache.get(Dataset, key)   # a private copy, or None when it is gone
        ...

    manager = Manager()
    manager.controller(Dataset, reconcile, workers=8)
    manager.run()
"""

from neptune.runtime.cache import Cache
from neptune.runtime.client import Client
from neptune.runtime.context import Context, RequeueAfter
from neptune.runtime.controller import Controller
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
from neptune.runtime.events import Events
from neptune.runtime.finalizers import Finalizer
from neptune.runtime.informer import Change, Informer
from neptune.runtime.leader import LeaderElection, LeadershipLost
from neptune.runtime.manager import Manager, Runnable
from neptune.runtime.mappers import Mapper
from neptune.runtime.owners import AlreadyOwned, controller_of, is_controlled_by, set_controller_ref
from neptune.runtime.predicates import (
    AnnotationsChanged,
    GenerationChanged,
    LabelsChanged,
    LabelSelector,
    Predicate,
    ResourceVersionChanged,
)
from neptune.runtime.query import Query, WatchEvent
from neptune.runtime.queue import WorkQueue
from neptune.runtime.sources import Keys, Mailbox, Source
from neptune.runtime.watch import Snapshot
from neptune.runtime.writer import StatusWriter, Writer

__all__ = [
    "AlreadyExists",
    "AlreadyOwned",
    "AnnotationsChanged",
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
    "Events",
    "FieldConflict",
    "Finalizer",
    "Forbidden",
    "GenerationChanged",
    "Gone",
    "Informer",
    "Invalid",
    "Keys",
    "LabelSelector",
    "LabelsChanged",
    "LeaderElection",
    "LeadershipLost",
    "Mailbox",
    "Manager",
    "Mapper",
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
    "controller_of",
    "is_controlled_by",
    "set_controller_ref",
]
