"""Who may own what, and under which reference."""

from __future__ import annotations

import pytest

from neptune.api.core import Namespace
from neptune.api.meta import ObjectMeta
from neptune.runtime import AlreadyOwned, controller_of, is_controlled_by, set_controller_ref
from tests.runtime.kinds import config_map
from tests.runtime.widgets import Widget, new_widget


def owner(name: str = "owner", uid: str = "u1") -> Widget:
    widget = new_widget(name)
    widget.metadata.uid = uid
    return widget


def test_the_reference_names_the_owner_as_garbage_collection_wants_it() -> None:
    child = config_map("ns", "child")
    set_controller_ref(owner(), child)
    set_controller_ref(owner(), child)
    assert child.to_dict()["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "name": "owner",
            "uid": "u1",
            "controller": True,
            "blockOwnerDeletion": True,
        }
    ]
    assert controller_of(child) is not None
    assert is_controlled_by(child, owner())


def test_an_object_of_the_same_name_that_was_made_anew_is_another_owner() -> None:
    child = config_map("ns", "child")
    set_controller_ref(owner(uid="u1"), child)
    assert not is_controlled_by(child, owner(uid="u2"))
    with pytest.raises(AlreadyOwned, match="controlled by Widget owner, not by"):
        set_controller_ref(owner(uid="u2"), child)


def test_an_owner_in_another_namespace_is_refused_and_one_in_none_is_not() -> None:
    with pytest.raises(ValueError, match="same namespace, or in none"):
        set_controller_ref(owner(), config_map("other", "child"))
    everywhere = Namespace(metadata=ObjectMeta(name="everywhere", uid="u3"))
    child = config_map("other", "child")
    set_controller_ref(everywhere, child)
    assert is_controlled_by(child, everywhere)


def test_an_owner_that_was_not_read_from_a_server_is_refused() -> None:
    with pytest.raises(ValueError, match="has no uid"):
        set_controller_ref(new_widget("owner"), config_map("ns", "child"))
