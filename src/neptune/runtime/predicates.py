"""Which changes are worth a reconcile. A predicate is a function of a `Change`; these can be joined with `& | ~`.

>>> worth = (GenerationChanged() | LabelsChanged()) & LabelSelector("tier in (gold, silver)")

A plain function serves as well, where nothing is to be joined. Neighbours: `controller` asks before it adds a key.
Rules: controller-runtime, pkg/predicate/predicate.go: creations and deletions pass all that compare two states, and so
does an object that was made anew under its name between two looks, which comes as a change of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from neptune.api import selectors
from neptune.runtime.informer import Change
from neptune.runtime.watch import Snapshot

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
        super().__init__(_differ(lambda item: item.generation))


class ResourceVersionChanged(Predicate):
    """Anything in the object changed: a resync does not pass."""

    def __init__(self) -> None:
        super().__init__(_differ(lambda item: item.version))


class LabelsChanged(Predicate):
    """The labels changed."""

    def __init__(self) -> None:
        super().__init__(_differ(lambda item: _words(item, "labels")))


class AnnotationsChanged(Predicate):
    """The annotations changed."""

    def __init__(self) -> None:
        super().__init__(_differ(lambda item: _words(item, "annotations")))


class LabelSelector(Predicate):
    """The object, as it is now or was last, has labels that the selector matches (kubectl's grammar).

    For objects that must be in the cache anyway; where only some matter at all, `Query(cls, label_selector=...)` keeps
    the others out of it.

    Raises:
        ValueError: the text is no selector.
    """

    def __init__(self, selector: str) -> None:
        parsed = selectors.parse_labels(selector)
        super().__init__(lambda change: selectors.matches(parsed, _words(change.new or change.old, "labels")))


def _differ(part: Callable[[Snapshot[Any]], object]) -> Test:
    """Return a test that lets a change pass when that part of the object is not what it was."""

    def differs(change: Change[Any]) -> bool:
        old, new = change.old, change.new
        return old is None or new is None or part(old) != part(new) or old.uid != new.uid

    return differs


def _words(item: Snapshot[Any] | None, field: str) -> dict[str, str]:
    return (json.loads(item.raw)["metadata"].get(field) or {}) if item else {}
