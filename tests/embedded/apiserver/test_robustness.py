"""Whatever a client sends, the server answers with a Status: bodies and patches mutated at random."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune.embedded.apiserver import Request, Response
from tests.support.contract_crd import CRD, dataset
from tests.support.pure_server import CRDS, DATASETS, PureServer

NAMESPACED = "/api/v1/namespaces/default"
EVENT = {
    "apiVersion": "events.k8s.io/v1",
    "kind": "Event",
    "metadata": {"name": "e"},
    "regarding": {"kind": "Dataset", "name": "a"},
    "series": {"count": 2, "lastObservedTime": "2026-01-01T00:00:00Z"},
    "note": "n",
}
THINGS = json.loads(json.dumps(CRD).replace("datasets", "things").replace("Dataset", "Thing").replace("cdset", "th"))
LABELLED = {"labels": {"k": "v"}, "finalizers": ["x/y"], "ownerReferences": [{"uid": "u"}]}
SAMPLES: list[tuple[str, Any]] = [
    (DATASETS, {**dataset("b", tags=["x"], free={"a": 1}), "metadata": {"name": "b", **LABELLED}}),
    (CRDS, THINGS),
    ("/apis/events.k8s.io/v1/namespaces/default/events", EVENT),
    (f"{NAMESPACED}/secrets", {"metadata": {"name": "s"}, "stringData": {"a": "b"}, "data": {"c": "YQ=="}}),
    ("/api/v1/namespaces", {"metadata": {"name": "n"}, "spec": {"finalizers": []}, "status": {}}),
]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, child in items for path in paths(child, (*here, key)))]


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    changed = copy.deepcopy(value)
    parent = changed
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = new
    return changed


def answer(server: PureServer, method: str, path: str, body: Any, media: str) -> Response:
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    query = {"fieldManager": "me", "fieldValidation": "Warn"}
    got = server.core.handle(
        Request(method, path, query, accept=table, content_type=media, body=json.dumps(body).encode()), server.now
    )
    assert isinstance(got, Response)
    json.dumps(got.body)
    return got


@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize(("path", "body"), SAMPLES)
@given(data=st.data())
def test_mutated_body_gets_an_answer(path: str, body: Any, data: st.DataObject) -> None:
    server = PureServer()
    mutated = replaced(body, data.draw(st.sampled_from(paths(body))), data.draw(JUNK))
    name = body["metadata"]["name"]
    answer(server, "POST", path, mutated, "application/json")
    answer(server, "PATCH", f"{path}/{name}", mutated, "application/apply-patch+yaml")
    answer(server, "POST", path, body, "application/json")
    for method, media in (
        ("PUT", "application/json"),
        ("PATCH", "application/merge-patch+json"),
        ("PATCH", "application/strategic-merge-patch+json"),
        ("PATCH", "application/json-patch+json"),
        ("PATCH", "application/apply-patch+yaml"),
        ("DELETE", "application/json"),
    ):
        answer(server, method, f"{path}/{name}", mutated, media)
        answer(server, "GET", path, None, media)
        answer(server, "GET", "/api/v1/events", None, media)


@given(
    st.sampled_from(["", "/a", "/a/status"]),
    st.dictionaries(
        st.sampled_from(
            ["watch", "resourceVersion", "limit", "continue", "timeoutSeconds", "sendInitialEvents", "labelSelector"]
        ),
        st.text(max_size=6) | st.sampled_from(["1", "true", "-1", "²", "9" * 30]),
        max_size=4,
    ),
    st.text(max_size=20),
)
def test_odd_query_gets_an_answer(suffix: str, query: dict[str, str], accept: str) -> None:
    server = PureServer()
    got = server.core.handle(Request("GET", DATASETS + suffix, query, accept=accept), server.now)
    json.dumps(got.body if isinstance(got, Response) else got.take(server.now))
