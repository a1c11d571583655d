"""Which changes are worth a reconcile. A predicate is a function of a `Change`; these can be joined with `& | ~`.

>>> worth = GenerationChanged() | Predicate(lambda change: change.new is not None and change.new.version == "7")

A plain function serves as well, where nothing is to be joined. Neighbours: `controller` asks before it adds a key.
Rules: controller-runtime, pkg/predicate/predicate.go: creations and deletions always pass the first two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from neptune.runtime.cache import Change

Test = Callable[[Change[Any]], bool]


class Predicate:
    """A function of a change that can be joined with others."""

    def __init__(self, test: Test) -> None:
        self._test = test

    def __call__(self, change: Change[Any]) -> bool:
        return self._test(change)

    def __and__(self, other: Test) -> Predicate:
        return Predicate(lambda change: self(change) and other(change))

    def __or__(self, other: Test) -> Predicate:
        return Predicate(lambda change: self(change) or other(change))

    def __invert__(self) -> Predicate:
        return Predicate(lambda change: not self(change))


class GenerationChanged(Predicate):
    """The spec changed: an update of the status or of labels does not pass.

    Right for a reconciler that looks at the spec alone. Needs the status subresource, without which the server
    raises the generation for every change.
    """

    def __init__(self) -> None:
        super().__init__(
            lambda change: change.old is None or change.new is None or change.old.generation != change.new.generation
        )


class ResourceVersionChanged(Predicate):
    """Anything in the object changed: a resync does not pass."""

    def __init__(self) -> None:
        super().__init__(
            lambda change: change.old is None or change.new is None or change.old.version != change.new.version
        )
