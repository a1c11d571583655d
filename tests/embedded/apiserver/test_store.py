from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.embedded.apiserver.objects import Object
from neptune.embedded.apiserver.store import Change, Compacted, Key, Store

KEYS = [Key("things", namespace, name) for namespace in "xy" for name in "ab"]


def obj(value: int = 0) -> Object:
    return {"metadata": {"name": "a"}, "value": value}


def write(store: Store, key: Key, value: int | None) -> None:
    if value is not None:
        store.put(key, obj(value))
    elif store.get(key):
        store.delete(key)


def test_each_write_has_a_revision_of_its_own() -> None:
    store = Store()
    first = store.put(KEYS[0], obj())
    second = store.put(KEYS[1], obj())
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


def test_stored_object_stays_when_another_takes_its_place() -> None:
    store = Store()
    first = store.put(KEYS[0], obj(1))
    store.put(KEYS[0], obj(2))
    assert first["value"] == 1


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.integers(0, 3)), max_size=30))
def test_list_at_a_revision_is_what_the_list_was_then(writes: list[tuple[Key, int | None]]) -> None:
    store = Store()
    seen = {store.revision: store.list("things")}
    for key, value in writes:
        write(store, key, value)
        seen[store.revision] = store.list("things")
    for revision, then in seen.items():
        assert store.list("things", at=revision) == then


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.integers(0, 3)), max_size=30), st.integers(0, 30))
def test_changes_replayed_over_an_old_list_give_the_present(writes: list[tuple[Key, int | None]], at: int) -> None:
    store = Store()
    for key, value in writes[:at]:
        write(store, key, value)
    state, revision = dict(store.list("things")), store.revision
    for key, value in writes[at:]:
        write(store, key, value)
    for change in store.since("things", revision):
        if change.after is None:
            del state[change.key]
        else:
            state[change.key] = change.after
    assert state == dict(store.list("things"))


def test_full_history_forgets_the_oldest_change_of_that_resource_only() -> None:
    store = Store(history_limit=2)
    store.put(Key("others", "", "a"), obj())
    for value in range(3):
        store.put(KEYS[0], obj(value))
    with pytest.raises(Compacted) as caught:
        store.since("things", 1)
    assert caught.value.oldest == 3
    assert len(list(store.since("things", 3))) == 2
    assert len(list(store.since("others", 1))) == 1


def test_compaction_forgets_every_resource() -> None:
    store = Store()
    store.put(KEYS[0], obj(1))
    store.put(KEYS[0], obj(2))
    store.compact(store.revision)
    with pytest.raises(Compacted):
        store.list("things", at=store.revision - 1)
    assert list(store.since("things", store.revision)) == []
    assert len(store.list("things")) == 1


def test_listener_hears_its_resource_until_it_stops() -> None:
    store = Store()
    heard: list[Change] = []
    stop = store.listen("things", heard.append)
    store.put(KEYS[0], obj(1))
    store.put(Key("others", "", "a"), obj())
    store.delete(KEYS[0])
    stop()
    stop()
    store.put(KEYS[0], obj(2))
    assert [(change.before is None, change.after is None) for change in heard] == [(True, False), (False, True)]


def test_a_restored_store_is_as_it_was_and_has_no_history() -> None:
    store = Store()
    store.put(KEYS[0], obj())
    snapshot = store.snapshot()
    store.put(KEYS[1], obj())
    store.delete(KEYS[0])
    store.restore(snapshot)
    assert [found for found, _ in store.list("things")] == [KEYS[0]]
    assert store.revision == snapshot.revision
    with pytest.raises(Compacted):
        store.since("things", snapshot.revision - 1)


def test_a_restore_can_go_on_above_all_revisions_that_were() -> None:
    store = Store()
    snapshot = store.snapshot()
    store.skip(1000)
    store.restore(snapshot, bump_revision=10_000)
    assert store.revision == snapshot.revision + 10_000
