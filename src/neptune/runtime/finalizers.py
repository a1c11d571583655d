"""A finalizer around a reconcile function: what was made outside the cluster is cleaned up before an object goes.

Invariant: the finalizer is on the object before the function first runs for it, and comes off only after `cleanup`
returned; each change of the list is guarded by the version that was read, so that no other's finalizer is lost.
Neighbours: `controller` calls it in the place of the function.

A finalizer holds deletion up for as long as the controller is away. Objects inside the cluster need none:
`owners.set_controller_ref` has them deleted by garbage collection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic

from neptune.api.meta import R, ResourceKey
from neptune.runtime.context import Context, Outcome, Reconcile, checked
from neptune.runtime.errors import NotFound
from neptune.runtime.threads import call


class Finalizer(Generic[R]):
    """A reconcile function with a clean-up, to be given to `manager.controller` as a reconcile function.

    Each of the two is an `async def`, or a plain `def` that runs in a thread and may block.

    >>> manager.controller(Site, Finalizer(Site, "example.com/site", reconcile, cleanup))  # doctest: +SKIP

    Args:
        cls: the class of the objects.
        name: what goes into `metadata.finalizers`, such as `example.com/website`.
        reconcile: called for objects that stay, and for keys that are gone; not for an object that is being deleted.
        cleanup: called with a private copy of an object that is being deleted. None means all is cleaned up;
            `RequeueAfter` means not yet, look again; an exception means again after a back-off. It may be called
            again after it returned None, so what is gone already must be fine with it.

    Raises:
        ValueError: the name has no domain; the API server wants one.
        TypeError: what was given for a function cannot be called.
    """

    def __init__(
        self,
        cls: type[R],
        name: str,
        reconcile: Reconcile,
        cleanup: Callable[[Context, R], Awaitable[Outcome]] | Callable[[Context, R], Outcome],
    ) -> None:
        if "/" not in name:
            raise ValueError(f"finalizer {name!r} needs a domain, as in example.com/{name}")
        for function in (reconcile, cleanup):
            if not callable(function):
                raise TypeError(f"finalizer {name}: {function!r} cannot be called, give it a function")
        self._cls = cls
        self._name = name
        self._reconcile = reconcile
        self._cleanup = cleanup

    async def __call__(self, ctx: Context, key: ResourceKey) -> Outcome:
        """Reconcile the object, or clean up after it."""
        obj = ctx.cache.get(self._cls, key)
        if obj is None:
            return await self._run(ctx, key)
        finalizers = obj.metadata.finalizers
        if obj.metadata.deletion_timestamp is not None:
            return await self._finish(ctx, obj) if self._name in finalizers else None
        if self._name not in finalizers:
            obj.metadata.finalizers = [*finalizers, self._name]
            await ctx.client.patch(obj)
            # Else the function would read what was there before, and its first write would be a conflict.
            await ctx.cache.caught_up(self._cls, key)
        return await self._run(ctx, key)

    async def _run(self, ctx: Context, key: ResourceKey) -> Outcome:
        return checked(await call(self._reconcile, ctx, key, f"{self._name} {key}"), "reconcile")

    async def _finish(self, ctx: Context, obj: R) -> Outcome:
        copy = obj.model_copy(deep=True)
        # Nothing but None may take the finalizer off.
        outcome = checked(await call(self._cleanup, ctx, copy, f"cleanup {self._name} {obj.key}"), "cleanup")
        if outcome is not None:
            return outcome
        obj.metadata.finalizers = [name for name in obj.metadata.finalizers if name != self._name]
        try:
            await ctx.client.patch(obj)
        except NotFound:
            ctx.log.debug("object went before its finalizer was removed")
        return None
