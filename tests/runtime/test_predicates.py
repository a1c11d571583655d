from __future__ import annotations

import pytest

from neptune.runtime import (
    AnnotationsChanged,
    Change,
    GenerationChanged,
    LabelsChanged,
    LabelSelector,
    Predicate,
    ResourceVersionChanged,
    Snapshot,
)
from neptune.runtime.watch import snapshot
from tests.runtime.widgets import Widget, item, key, widget

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


def test_an_object_made_anew_under_its_name_passes_whatever_is_compared() -> None:
    first, second = (labelled(uid=uid) for uid in ("one", "two"))
    anew = Change(key("a"), first, second)
    assert all(each()(anew) for each in (GenerationChanged, ResourceVersionChanged, LabelsChanged, AnnotationsChanged))


def labelled(version: int = 1, **metadata: dict[str, str] | str | None) -> Snapshot[Widget]:
    obj = item("a", version)
    obj["metadata"] |= metadata
    return snapshot(Widget, obj)


@pytest.mark.parametrize(
    ("predicate", "field"), [(LabelsChanged(), "labels"), (AnnotationsChanged(), "annotations")], ids=str
)
def test_labels_and_annotations_are_compared_each_alone(predicate: Predicate, field: str) -> None:
    other = {"labels": "annotations", "annotations": "labels"}[field]
    plain, set_, none = labelled(), labelled(2, **{field: {"a": "b"}}), labelled(3, **{field: None})
    assert [predicate(change) for change in (CREATED, DELETED, SPEC, STATUS)] == [True, True, False, False]
    assert predicate(Change(key("a"), plain, set_))
    assert not predicate(Change(key("a"), plain, none))
    assert not predicate(Change(key("a"), plain, labelled(2, **{other: {"a": "b"}})))


def test_a_selector_looks_at_the_object_as_it_is_or_was_last() -> None:
    gold = LabelSelector("tier in (gold, silver),!old")
    a, b = labelled(labels={"tier": "gold"}), labelled(2, labels={"tier": "tin"})
    assert [gold(Change(key("a"), *states)) for states in ((None, a), (a, None), (a, b), (b, a), (None, b))] == [
        True, True, False, True, False,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="is not a label selector"):
        LabelSelector("tier in")
