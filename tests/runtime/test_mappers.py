"""From changes to keys, over informers that the test fills."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog

from neptune.api.core import ConfigMap
from neptune.api.meta import ResourceKey
from neptune.runtime import Change, Informer, Query, set_controller_ref
from neptune.runtime.mappers import mapped, owner_mapper
from neptune.runtime.queue import LOW_PRIORITY
from neptune.runtime.watch import Listed, Snapshot, snapshot
from tests.runtime.kinds import config_map
from tests.runtime.widgets import Widget, item, key, new_widget


def owner(name: str, uid: str) -> Widget:
    widget = new_widget(name)
    widget.metadata.uid = uid
    return widget


def child(owned_by: Widget | None = None, *, api_version: str = "example.com/v1", **data: Any) -> Snapshot[ConfigMap]:
    made = config_map("ns", "child", **data)
    if owned_by:
        set_controller_ref(owned_by, made)
        made.metadata.owner_references[0].api_version = api_version
    return snapshot(ConfigMap, made.to_dict())


def handling(mapper: Callable[[Any], Any]) -> tuple[Callable[[Change[Any]], None], dict[ResourceKey, int]]:
    added: dict[ResourceKey, int] = {}
    return mapped("widgets", mapper, added.__setitem__), added


def test_a_change_of_a_child_names_its_owner_by_group_and_kind_whatever_the_version() -> None:
    handle, added = handling(owner_mapper([Informer(Query(Widget))]))
    for reference in ("example.com/v1beta1", "other.com/v1", "v1"):
        handle(Change(key("child"), None, child(owner("a", "u1"), api_version=reference)))
    handle(Change(key("child"), None, child()))
    assert added == {key("a"): 0}


def test_a_child_of_an_earlier_object_of_the_same_name_is_not_the_new_ones() -> None:
    widgets = Informer(Query(Widget))
    handle, added = handling(owner_mapper([widgets]))
    new = item("a")
    new["metadata"]["uid"] = "u2"
    widgets.apply(Listed([snapshot(Widget, new)]))
    handle(Change(key("child"), None, child(owner("a", "u1"))))
    assert not added
    handle(Change(key("child"), None, child(owner("a", "u2"))))
    assert added == {key("a"): 0}


def test_both_the_old_owner_and_the_new_one_get_a_look() -> None:
    handle, added = handling(owner_mapper([Informer(Query(Widget))]))
    handle(Change(key("child"), child(owner("a", "u1")), child(owner("b", "u2"))))
    assert added == {key("a"): 0, key("b"): 0}


def test_the_initial_list_is_mapped_at_low_priority() -> None:
    handle, added = handling(owner_mapper([Informer(Query(Widget))]))
    handle(Change(key("child"), None, child(owner("a", "u1")), initial=True))
    assert added == {key("a"): LOW_PRIORITY}


def test_a_mapper_that_fails_is_logged_and_the_other_state_still_mapped() -> None:
    def fragile(config: ConfigMap) -> list[tuple[str, str]]:
        return [("ns", config.data["widget"])]

    handle, added = handling(fragile)
    with structlog.testing.capture_logs() as logs:
        handle(Change(key("child"), child(), child(widget="b")))
    assert added == {key("b"): 0}
    assert logs[0].items() >= {"event": "mapper failed, change left out", "controller": "widgets"}.items()


def test_an_object_that_does_not_fit_its_type_is_left_out_and_named() -> None:
    handle, added = handling(lambda config: [("ns", config.data["widget"])])
    broken = snapshot(ConfigMap, {"metadata": {"namespace": "ns", "name": "bad"}, "data": 7})
    with structlog.testing.capture_logs() as logs:
        handle(Change(key("bad"), None, broken))
    assert not added
    assert "ns/bad does not fit its type" in logs[0]["problem"]
