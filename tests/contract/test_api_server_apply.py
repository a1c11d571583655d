"""Server-side apply: the same cases on the embedded server and on a real kube-apiserver."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Server
from tests.support.contract_crd import API_VERSION, dataset
from tests.support.kube_http import Answer

MEDIA = "application/apply-patch+yaml"


async def apply(server: Server, manager: str, body: Any, subresource: str = "", **query: str) -> Answer:
    path = f"{server.path}/a/{subresource}".rstrip("/")
    return await server.http.call("PATCH", path, body, content_type=MEDIA, fieldManager=manager, **query)


def status(*types: str, **fields: Any) -> dict[str, Any]:
    conditions = [{"type": each, "status": "True"} for each in types]
    return {
        "apiVersion": API_VERSION,
        "kind": "Dataset",
        "metadata": {"name": "a"},
        "status": {"conditions": conditions, **fields},
    }


def owned(answer: Answer) -> dict[tuple[str, str, str], Any]:
    return {
        (each["manager"], each["operation"], each.get("subresource", "")): each["fieldsV1"]
        for each in answer.body["metadata"].get("managedFields", [])
    }


async def test_field_of_another_manager_is_a_conflict(api_server: Server) -> None:
    await apply(api_server, "kubectl", dataset())
    refused = await apply(api_server, "other", dataset(url="/other"))
    assert refused.code == 409
    assert refused.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'Apply failed with 1 conflict: conflict with "kubectl": .spec.url',
        "reason": "Conflict",
        "details": {
            "causes": [
                {"reason": "FieldManagerConflict", "message": 'conflict with "kubectl"', "field": ".spec.url"},
            ]
        },
        "code": 409,
    }
    assert (await api_server.get("a")).body["spec"]["url"] == "/data/a"


async def test_conflicts_are_listed_by_manager_and_field(api_server: Server) -> None:
    await apply(api_server, "one", dataset(split={"train": 1}, nodeName="n"))
    await apply(api_server, "two", dataset(free={"a": [1], "b": {"c": 1}}))
    sent = dataset(url="/other", split={"train": 2}, nodeName="m", free={"a": [2], "b": {"c": 2}})
    refused = await apply(api_server, "three", sent)
    assert refused.body["message"] == (
        'Apply failed with 6 conflicts: conflicts with "one":\n- .spec.nodeName\n- .spec.url\n- .spec.split.train\n'
        'conflicts with "two":\n- .spec.url\n- .spec.free.a\n- .spec.free.b.c'
    )
    assert len(refused.body["details"]["causes"]) == 6


async def test_force_takes_the_fields_over(api_server: Server) -> None:
    await apply(api_server, "kubectl", dataset())
    forced = await apply(api_server, "other", dataset(url="/other"), force="true")
    assert forced.body["spec"]["url"] == "/other"
    assert owned(forced) == {
        ("kubectl", "Apply", ""): {"f:spec": {"f:format": {}}},
        ("other", "Apply", ""): {"f:spec": {"f:format": {}, "f:url": {}}},
    }
    refused = await apply(api_server, "kubectl", dataset())
    assert refused.body["message"] == 'Apply failed with 1 conflict: conflict with "other": .spec.url'


async def test_equal_values_are_shared_and_leave_with_their_last_owner(api_server: Server) -> None:
    await apply(api_server, "one", dataset(nodeName="n", note=None, options={"x": "1"}))
    assert (await apply(api_server, "two", dataset(nodeName="n", options={"y": "1"}))).code == 200
    shared = await apply(api_server, "one", dataset())
    assert shared.body["spec"] == {**dataset(nodeName="n", options={"y": "1"})["spec"], "copies": 1}
    gone = await apply(api_server, "two", dataset())
    assert gone.body["spec"] == {**dataset()["spec"], "copies": 1}


async def test_labels_are_owned_one_by_one(api_server: Server) -> None:
    first, second = dataset(), dataset()
    first["metadata"]["labels"], second["metadata"]["labels"] = {"a": "1", "b": "1"}, {"c": "1"}
    await apply(api_server, "one", first)
    await apply(api_server, "two", second)
    del first["metadata"]["labels"]["b"]
    answer = await apply(api_server, "one", first)
    assert answer.body["metadata"]["labels"] == {"a": "1", "c": "1"}
    assert owned(answer)["one", "Apply", ""] == {
        "f:metadata": {"f:labels": {"f:a": {}}},
        "f:spec": {"f:format": {}, "f:url": {}},
    }
    second["metadata"]["labels"] = {"a": "2"}
    refused = await apply(api_server, "two", second)
    assert refused.body["message"] == 'Apply failed with 1 conflict: conflict with "one": .metadata.labels.a'


async def test_atomic_list_is_replaced_whole_and_a_set_is_merged(api_server: Server) -> None:
    await apply(api_server, "one", dataset(free={"list": [1, 2]}, tags=["x"]))
    refused = await apply(api_server, "two", dataset(free={"list": [3]}, tags=["y"]))
    assert refused.body["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.free.list'
    answer = await apply(api_server, "two", dataset(free={"list": [3]}, tags=["y"]), force="true")
    assert answer.body["spec"]["free"] == {"list": [3]}
    assert sorted(answer.body["spec"]["tags"]) == ["x", "y"]
    assert owned(answer)["two", "Apply", ""]["f:spec"]["f:tags"] == {'v:"y"': {}}
    answer = await apply(api_server, "one", dataset())
    assert answer.body["spec"]["tags"] == ["y"]


async def test_items_of_a_keyed_list_have_owners_of_their_own(api_server: Server) -> None:
    await api_server.create(dataset())
    await apply(api_server, "one", status("Ready", "Synced"), "status")
    both = await apply(api_server, "two", status("Known", numberOfSamples=3), "status")
    assert [each["type"] for each in both.body["status"]["conditions"]] == ["Ready", "Synced", "Known"]
    item: dict[str, Any] = {".": {}, "f:status": {}, "f:type": {}}
    assert owned(both)["two", "Apply", "status"] == {
        "f:status": {"f:conditions": {'k:{"type":"Known"}': item}, "f:numberOfSamples": {}}
    }
    less = await apply(api_server, "one", status("Synced"), "status")
    assert [each["type"] for each in less.body["status"]["conditions"]] == ["Synced", "Known"]
    other = status("Synced")
    other["status"]["conditions"][0]["status"] = "False"
    refused = await apply(api_server, "two", other, "status")
    assert refused.body["message"] == (
        'Apply failed with 1 conflict: conflict with "one" with subresource "status": '
        '.status.conditions[type="Synced"].status'
    )


@pytest.mark.parametrize("subresource", ["", "status"])
async def test_apply_sets_its_own_part_of_the_object_alone(api_server: Server, subresource: str) -> None:
    await api_server.create(dataset())
    body = {**dataset(url="/other"), **{"status": {"numberOfSamples": 1}}}
    answer = await apply(api_server, "me", body, subresource, force="true")
    part: dict[str, Any] = (
        {"f:status": {"f:numberOfSamples": {}}} if subresource else {"f:spec": {"f:format": {}, "f:url": {}}}
    )
    assert owned(answer)["me", "Apply", subresource] == part
    assert answer.body["spec"]["url"] == ("/data/a" if subresource else "/other")
    assert ("status" in answer.body) is bool(subresource)


async def test_creation_owns_what_it_set_and_the_defaults(api_server: Server) -> None:
    body = dataset(tags=["x"], options={"a": "1"}, split={})
    body["metadata"] |= {"labels": {"l": "1"}, "finalizers": ["neptune.io/x"]}
    made = await api_server.create(body, fieldManager="maker")
    assert owned(made) == {
        ("maker", "Update", ""): {
            "f:metadata": {"f:labels": {".": {}, "f:l": {}}, "f:finalizers": {".": {}, 'v:"neptune.io/x"': {}}},
            "f:spec": {
                ".": {},
                "f:copies": {},
                "f:format": {},
                "f:options": {".": {}, "f:a": {}},
                "f:split": {".": {}, "f:train": {}},
                "f:tags": {".": {}, 'v:"x"': {}},
                "f:url": {},
            },
        }
    }
    await api_server.merge("a", {"metadata": {"finalizers": None}})


async def test_patch_owns_what_it_changed(api_server: Server) -> None:
    await apply(api_server, "applier", dataset(nodeName="n"))
    await api_server.merge("a", {"spec": {"url": "/patched"}}, fieldManager="patcher")
    changed = await api_server.merge("a", {"status": {"numberOfSamples": 1}}, "status", fieldManager="patcher")
    assert owned(changed) == {
        ("applier", "Apply", ""): {"f:spec": {"f:format": {}, "f:nodeName": {}}},
        ("patcher", "Update", ""): {"f:spec": {"f:url": {}}},
        ("patcher", "Update", "status"): {"f:status": {".": {}, "f:numberOfSamples": {}}},
    }
    refused = await apply(api_server, "applier", dataset(nodeName="n"))
    assert refused.body["message"] == (
        f'Apply failed with 1 conflict: conflict with "patcher" using {API_VERSION}: .spec.url'
    )
    assert (await apply(api_server, "applier", dataset(url="/patched", nodeName="n"))).code == 200


async def test_update_loses_what_it_removes_and_keeps_the_rest(api_server: Server) -> None:
    made = await api_server.create(dataset(nodeName="n", note="x"), fieldManager="maker")
    metadata = {"name": "a", "resourceVersion": made.body["metadata"]["resourceVersion"]}
    put = await api_server.put({**dataset(note="y"), "metadata": metadata}, fieldManager="other")
    assert owned(put) == {
        ("maker", "Update", ""): {"f:spec": {".": {}, "f:copies": {}, "f:format": {}, "f:url": {}}},
        ("other", "Update", ""): {"f:spec": {"f:note": {}}},
    }


async def test_apply_of_the_same_changes_nothing(api_server: Server) -> None:
    first = await apply(api_server, "me", dataset())
    assert (await apply(api_server, "me", dataset())).body == first.body


async def test_client_may_hand_the_ownership_over(api_server: Server) -> None:
    made = await apply(api_server, "one", dataset())
    entry = {**made.body["metadata"]["managedFields"][0], "manager": "two"}
    moved = await api_server.merge("a", {"metadata": {"managedFields": [entry]}})
    assert owned(moved) == {("two", "Apply", ""): {"f:spec": {"f:format": {}, "f:url": {}}}}
    broken = {**entry, "fieldsV1": {"k:{": {}}}
    kept = await api_server.merge("a", {"metadata": {"managedFields": [broken]}})
    assert owned(kept) == owned(moved)
    unknown = {**entry, "fieldsV1": {"x:spec": {}, **entry["fieldsV1"]}}
    assert owned(await api_server.merge("a", {"metadata": {"managedFields": [unknown]}})) == owned(moved)
    reset = await api_server.merge("a", {"metadata": {"managedFields": [{}]}})
    assert owned(reset) == {}


async def test_manager_that_does_not_say_its_name_is_called_as_its_program(api_server: Server) -> None:
    made = await api_server.create(dataset())
    assert [manager for manager, _, _ in owned(made)] == ["Python"]
