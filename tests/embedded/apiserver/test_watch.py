"""Watches and pages on the pure server: bookmarks, bounds, and what happens when history is gone."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from neptune.embedded.apiserver.builtin import EVENTS
from neptune.embedded.apiserver.store import Key, Store
from neptune.embedded.apiserver.watch import ListOptions, Selection, WatchStream
from tests.support.contract_crd import dataset
from tests.support.pure_server import DATASETS, PureServer

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def test_bookmark_comes_only_to_who_allowed_them() -> None:
    server = PureServer()
    version = str(server.core.revision)
    quiet = server.watch(DATASETS, resourceVersion=version)
    told = server.watch(DATASETS, resourceVersion=version, allowWatchBookmarks="true")
    server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
    for watch in (quiet, told):
        watch.stream.bookmark()
    assert server.events(quiet) == []
    (kind, obj), *more = server.events(told)
    assert (kind, more) == ("BOOKMARK", [])
    assert obj["metadata"] == {"resourceVersion": str(server.core.revision)}


def test_bookmark_of_a_table_has_no_row() -> None:
    server = PureServer()
    watch = server.watch(DATASETS, accept=TABLE, allowWatchBookmarks="true")
    watch.stream.bookmark()
    kind, table = server.events(watch)[0]
    assert (kind, table["rows"]) == ("BOOKMARK", [])
    assert table["metadata"]["resourceVersion"] == str(server.core.revision)


def test_watch_of_one_namespace_hears_nothing_of_another() -> None:
    server = PureServer()
    watch = server.watch(DATASETS)
    server.call("POST", "/api/v1/namespaces", {"metadata": {"name": "n"}})
    server.call("POST", DATASETS.replace("default", "n"), dataset("a"))
    assert server.events(watch) == []


def test_slow_watch_is_ended_not_kept_in_memory() -> None:
    store = Store()
    stream = WatchStream(store, Selection(EVENTS), ListOptions(), limit=2)
    woken: list[bool] = []
    stream.on_event = lambda: woken.append(stream.overflowed)
    for number in range(4):
        store.put(Key("events", "default", str(number)), {"metadata": {"name": str(number), "namespace": "default"}})
    assert stream.overflowed
    assert stream.ended
    assert stream.take() == []
    assert woken == [False, False, True]


def test_long_start_of_a_watch_does_not_count_as_its_delay() -> None:
    store = Store()
    for number in range(5):
        store.put(Key("events", "default", str(number)), {"metadata": {"name": str(number), "namespace": "default"}})
    stream = WatchStream(store, Selection(EVENTS), ListOptions(), limit=1)
    store.delete(Key("events", "default", "0"))
    assert [event.type for event in stream.take()] == ["ADDED"] * 5 + ["DELETED"]


def test_closed_watch_ends_and_hears_no_more() -> None:
    server = PureServer()
    watch = server.watch(DATASETS)
    watch.stream.close()
    server.call("POST", DATASETS, dataset("a"))
    assert watch.stream.ended
    assert server.events(watch) == []


def test_watch_goes_on_from_any_version_of_the_history() -> None:
    server = PureServer()
    versions = [server.call("POST", DATASETS, dataset(name))["metadata"]["resourceVersion"] for name in "abc"]
    watch = server.watch(DATASETS, resourceVersion=versions[0])
    assert [obj["metadata"]["name"] for _, obj in server.events(watch)] == ["b", "c"]


def test_watch_from_before_the_bounded_history_gets_410() -> None:
    server = PureServer(history_limit=3)
    first = server.call("POST", DATASETS, dataset("a"))["metadata"]["resourceVersion"]
    for copies in range(2, 7):
        server.call("PATCH", f"{DATASETS}/a", {"spec": {"copies": copies}})
    watch = server.watch(DATASETS, resourceVersion=first)
    (kind, status), *more = server.events(watch)
    assert (kind, status["code"], status["reason"], more) == ("ERROR", 410, "Expired", [])
    assert watch.stream.ended


def test_page_of_a_forgotten_list_gets_410() -> None:
    server = PureServer()
    for name in "abc":
        server.call("POST", DATASETS, dataset(name))
    token = server.call("GET", DATASETS, limit="1")["metadata"]["continue"]
    server.call("DELETE", f"{DATASETS}/c")
    server.core.compact(server.core.revision)
    answer = server.ask("GET", DATASETS, **{"limit": "1", "continue": token})
    assert isinstance(answer.body, dict)
    assert (answer.code, answer.body["reason"]) == (410, "Expired")
    assert "The provided continue parameter is too old" in answer.body["message"]


def test_exact_version_is_listed_while_history_lasts() -> None:
    server = PureServer()
    server.call("POST", DATASETS, dataset("a"))
    version = str(server.core.revision)
    server.call("DELETE", f"{DATASETS}/a")
    query = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
    assert len(server.call("GET", DATASETS, **query)["items"]) == 1
    server.core.compact(server.core.revision)
    assert server.ask("GET", DATASETS, **query).code == 410


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["make", "label", "unlabel", "drop"])), max_size=25),
    st.integers(0, 25),
)
def test_list_then_watch_tells_the_same_as_a_later_list(steps: list[tuple[str, str]], at: int) -> None:
    server = PureServer()
    query = {"labelSelector": "on"}

    def take(step: tuple[str, str]) -> None:
        name, action = step
        if action == "make":
            server.ask("POST", DATASETS, dataset(name))
        elif action == "drop":
            server.ask("DELETE", f"{DATASETS}/{name}")
        else:
            value = "1" if action == "label" else None
            server.ask("PATCH", f"{DATASETS}/{name}", {"metadata": {"labels": {"on": value}}})

    for step in steps[:at]:
        take(step)
    listed: Any = server.call("GET", DATASETS, **query)
    state = {obj["metadata"]["name"]: obj for obj in listed["items"]}
    watch = server.watch(DATASETS, resourceVersion=listed["metadata"]["resourceVersion"], **query)
    for step in steps[at:]:
        take(step)
    for kind, obj in server.events(watch):
        name = obj["metadata"]["name"]
        assert (kind == "ADDED") is (name not in state)
        if kind == "DELETED":
            del state[name]
        else:
            state[name] = obj
    assert list(dict(sorted(state.items())).values()) == server.call("GET", DATASETS, **query)["items"]
