"""What this process wrote and its cache has not seen yet, so that a reconcile never decides on a state before its own.

Invariant: a write is held under the object that it changed and under the object whose reconcile made it, until
somebody takes it or the cache has caught up with it. So a controller that created a child waits for that child, too,
before it looks at the parent again (else it would create another one).
Neighbours: `writer` tells of the writes, `cache` knows what it has seen and waits. No I/O.
The same idea: java-operator-sdk's TemporaryResourceCache; kopf's wait for its own patch.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from neptune.api.meta import ResourceKey, ResourceType
from neptune.runtime.writer import Written

#: So many claims are worth a sweep for those that nobody takes: writes to objects that no controller looks at.
SWEEP_CLAIMS = 1000

Claim = tuple[ResourceType, ResourceKey]

_under_way: ContextVar[Claim | None] = ContextVar("reconcile under way", default=None)


class Reconciling:
    """Holds the writes of this task, and of those that it starts, under this object too."""

    __slots__ = ("_claim", "_token")

    def __init__(self, resource: ResourceType, key: ResourceKey) -> None:
        self._claim = (resource, key)

    def __enter__(self) -> None:
        self._token = _under_way.set(self._claim)

    def __exit__(self, *_: object) -> None:
        _under_way.reset(self._token)


class OwnWrites:
    """The newest write to each object, by claim. `seen` tells whether the cache has caught up with a write."""

    def __init__(self, seen: Callable[[Written], bool]) -> None:
        self._seen = seen
        self._claims: dict[Claim, dict[Claim, Written]] = {}
        self._sweep_at = SWEEP_CLAIMS

    def __len__(self) -> int:
        return len(self._claims)

    def add(self, written: Written) -> None:
        """Hold a write, unless the cache has seen it already or does not watch its kind."""
        if self._seen(written):
            return
        target = (written.resource, written.key)
        for claim in {target, _under_way.get() or target}:
            self._claims.setdefault(claim, {})[target] = written
        if len(self._claims) >= self._sweep_at:
            self._sweep()

    def take(self, claim: Claim) -> list[Written]:
        """Return the writes that are held under the claim and not seen yet, and hold them no longer."""
        return [written for written in self._claims.pop(claim, {}).values() if not self._seen(written)]

    def _sweep(self) -> None:
        self._claims = {
            claim: writes
            for claim, writes in self._claims.items()
            if not all(self._seen(written) for written in writes.values())
        }
        self._sweep_at = max(SWEEP_CLAIMS, 2 * len(self._claims))  # so that a sweep costs each write little
