"""From an object that changed to the keys that deserve a look: what `owns=` and `watches=` of a controller rest on.

Invariant: both the state before a change and the one after it are asked, so that a key that was left behind, by a
selector or an owner that changed, gets its look too. A mapper that fails costs its own change only, and is logged.
Neighbours: `cache` tells of changes, `controller` enqueues the keys.
Rules: controller-runtime, pkg/handler/enqueue_mapped.go and enqueue_owner.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from neptune.api.meta import R, Resource, ResourceKey
from neptune.log import get_logger
from neptune.runtime.errors import DecodeError
from neptune.runtime.informer import Change, Informer
from neptune.runtime.owners import controller_of
from neptune.runtime.query import describe
from neptune.runtime.queue import LOW_PRIORITY

#: From an object to the keys that deserve a look when it changes. Gets a private copy. Must be quick and not block.
Mapper = Callable[[Any], Iterable[ResourceKey]]
Add = Callable[[ResourceKey, int], None]

log = get_logger()


def owner_mapper(owners: Sequence[Informer[R]]) -> Mapper:
    """Return the mapper from a child to its controller, if that is of the kind that `owners` hold.

    The kind is compared by group and name, not by version: a child made through v1beta1 of its owner still counts. A
    child of an object that was deleted and made anew under the same name is not the new one's, which its uid tells.
    """
    resource = owners[0].query.cls.resource

    def map_to_owner(child: Resource) -> Iterable[ResourceKey]:
        reference = controller_of(child)
        if reference is None or reference.kind != resource.kind or _group(reference.api_version) != resource.group:
            return ()
        key = ResourceKey(child.metadata.namespace if resource.namespaced else "", reference.name)
        known = next(filter(None, (each.get(key) for each in owners)), None)
        # Unknown is no reason to leave it out: the owner may be on its way to the cache.
        return (key,) if known is None or known.uid == reference.uid else ()

    return map_to_owner


def mapped(controller: str, mapper: Mapper, add: Add) -> Callable[[Change[Any]], None]:
    """Return a handler of changes that adds the keys which `mapper` gives, at low priority for the initial list."""

    def handle(change: Change[Any]) -> None:
        keys: dict[ResourceKey, None] = {}
        for state in (change.old, change.new):
            if state is None:
                continue
            try:
                keys.update(dict.fromkeys(ResourceKey(*key) for key in mapper(state.decode())))
            except DecodeError as error:
                log.warning("object left out", controller=controller, problem=str(error))
            except Exception:  # foreign code, and the other state may still be mapped
                kind = describe(state.cls)
                log.exception(
                    "mapper failed, change left out", controller=controller, resource=kind, key=str(state.key)
                )
        for key in keys:
            add(key, LOW_PRIORITY if change.initial else 0)

    return handle


def _group(api_version: str) -> str:
    group, slash, _ = api_version.rpartition("/")
    return group if slash else ""
