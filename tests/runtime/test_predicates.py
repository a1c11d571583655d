from __future__ import annotations

from neptune.runtime import Change, GenerationChanged, Predicate, ResourceVersionChanged
from tests.runtime.widgets import key, widget

CREATED = Change(key("a"), None, widget("a"))
DELETED = Change(key("a"), widget("a"), None)
SPEC = Change(key("a"), widget("a", 1), widget("a", 2, generation=2))
STATUS = Change(key("a"), widget("a", 1), widget("a", 2))
RESYNC = Change(key("a"), widget("a", 1), widget("a", 1))
ALL = (CREATED, DELETED, SPEC, STATUS, RESYNC)


def test_generation_changed_lets_all_but_status_updates_and_resyncs_pass() -> None:
    assert [GenerationChanged()(change) for change in ALL] == [True, True, True, False, False]


def test_resource_version_changed_lets_all_but_resyncs_pass() -> None:
    assert [ResourceVersionChanged()(change) for change in ALL] == [True, True, True, True, False]


def test_predicates_and_plain_functions_join() -> None:
    deleted = Predicate(lambda change: change.new is None)
    assert [(GenerationChanged() & ~deleted)(change) for change in ALL] == [True, False, True, False, False]
    assert [(deleted | (lambda change: change.old is None))(change) for change in ALL] == [
        True,
        True,
        False,
        False,
        False,
    ]
