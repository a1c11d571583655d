"""Selectors, tables, watches and discovery: the same cases on the embedded API server and on a real one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Server
from tests.support.contract_crd import API_VERSION, GROUP, dataset

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def names(listed: Any) -> list[str]:
    return [each["metadata"]["name"] for each in listed["items"]]


async def with_labels(api_server: Server, name: str, labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    body = dataset(name, **spec)
    body["metadata"]["labels"] = labels
    made: dict[str, Any] = (await api_server.create(body)).body
    return made


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("app=x", ["a", "b"]),
        ("app==x,tier!=back", ["a"]),
        ("app!=x", ["c", "d"]),
        ("app in (x, y)", ["a", "b", "c"]),
        ("app notin (x,y)", ["d"]),
        ("tier", ["a", "b"]),
        ("!tier", ["c", "d"]),
        ("app,tier in (back)", ["b"]),
        ("app=", []),
    ],
)
async def test_label_selector_selects(api_server: Server, selector: str, expected: list[str]) -> None:
    await with_labels(api_server, "a", {"app": "x", "tier": "front"})
    await with_labels(api_server, "b", {"app": "x", "tier": "back"})
    await with_labels(api_server, "c", {"app": "y"})
    await with_labels(api_server, "d", {})
    assert names((await api_server.get(labelSelector=selector)).body) == expected


@pytest.mark.parametrize("selector", ["a=b=c", "a in b", "in (a)", "=a", "a in (b"])
async def test_selector_that_cannot_be_read_is_a_bad_request(api_server: Server, selector: str) -> None:
    answer = await api_server.get(labelSelector=selector)
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("metadata.name=a", ["a"]),
        ("metadata.name!=a", ["b"]),
        ("spec.nodeName=edge0", ["a"]),
        ("spec.nodeName=", ["b"]),
        ("spec.nodeName!=edge0,metadata.name=b", ["b"]),
    ],
)
async def test_field_selector_selects(api_server: Server, selector: str, expected: list[str]) -> None:
    await api_server.create(dataset("a", nodeName="edge0"))
    await api_server.create(dataset("b"))
    assert names((await api_server.get(fieldSelector=selector)).body) == expected


async def test_field_that_is_not_selectable_is_a_bad_request(api_server: Server) -> None:
    answer = await api_server.get(fieldSelector="spec.url=x")
    assert (answer.code, answer.body["message"]) == (400, "field label not supported: spec.url")


async def test_table_has_the_columns_of_the_crd(api_server: Server) -> None:
    await api_server.create(dataset("a", nodeName="edge0", share=0.5))
    await api_server.merge(
        "a", {"status": {"numberOfSamples": 0, "conditions": [{"type": "Ready", "status": "True"}]}}, "status"
    )
    await api_server.create(dataset("b"))
    table = (await api_server.get(accept=TABLE)).body
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = [(each["name"], each["type"], each["priority"]) for each in table["columnDefinitions"]]
    assert columns == [
        ("Name", "string", 0),
        ("NumberOfSamples", "integer", 0),
        ("Node", "string", 0),
        ("Ready", "string", 0),
        ("Updated", "date", 0),
        ("Share", "number", 0),
        ("Age", "date", 0),
        ("Spec", "string", 1),
    ]
    cells = [row["cells"] for row in table["rows"]]
    assert cells[0][:6] == ["a", 0, "edge0", "True", None, 0.5]
    assert cells[1][:6] == ["b", None, None, None, None, None]
    assert cells[1][6].endswith("s")
    assert cells[1][7] == '{"copies":1,"format":"txt","url":"/data/a"}'
    assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    assert table["rows"][0]["object"]["metadata"]["name"] == "a"


async def test_table_shows_ages_of_dates(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    await api_server.merge("a", {"status": {"updateTime": "2020-01-01T00:00:00Z"}}, "status")
    table = (await api_server.get("a", accept=TABLE, includeObject="None")).body
    assert table["rows"][0]["cells"][4][:2] in {"6y", "7y", "8y"}
    assert table["rows"][0].get("object") is None


async def test_partial_metadata_leaves_the_rest_out(api_server: Server) -> None:
    made = (await api_server.create(dataset("a"))).body
    one = (await api_server.get("a", accept=PARTIAL)).body
    assert set(one) == {"kind", "apiVersion", "metadata"}
    assert one["kind"] == "PartialObjectMetadata"
    assert one["metadata"]["uid"] == made["metadata"]["uid"]
    listed = (await api_server.get(accept=PARTIAL_LIST)).body
    assert listed["kind"] == "PartialObjectMetadataList"
    assert names(listed) == ["a"]


async def test_watch_goes_on_from_a_list(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    version = (await api_server.get()).body["metadata"]["resourceVersion"]
    async with api_server.http.watch(api_server.path, resourceVersion=version) as events:
        made = (await api_server.create(dataset("b"))).body
        assert await events.next() == {"type": "ADDED", "object": made}
        changed = (await api_server.merge("b", {"spec": {"copies": 2}})).body
        assert await events.next() == {"type": "MODIFIED", "object": changed}
        await api_server.delete("b")
        gone = await events.next()
        assert (gone["type"], gone["object"]["metadata"]["name"]) == ("DELETED", "b")
        assert int(gone["object"]["metadata"]["resourceVersion"]) > int(changed["metadata"]["resourceVersion"])


async def test_watch_without_a_version_begins_with_what_is_there(api_server: Server) -> None:
    made = (await api_server.create(dataset("a"))).body
    async with api_server.http.watch(api_server.path) as events:
        assert await events.next() == {"type": "ADDED", "object": made}


async def test_watch_by_selector_sees_objects_enter_and_leave(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    version = (await api_server.get()).body["metadata"]["resourceVersion"]
    query = {"resourceVersion": version, "labelSelector": "on"}
    async with api_server.http.watch(api_server.path, **query) as events:
        await api_server.merge("a", {"metadata": {"labels": {"on": "1"}}})
        await api_server.merge("a", {"metadata": {"labels": {"on": "2"}}})
        await api_server.merge("a", {"metadata": {"labels": {"on": None}}})
        seen = [await events.next() for _ in range(3)]
    assert [each["type"] for each in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert seen[2]["object"]["metadata"]["labels"] == {"on": "2"}


async def test_watch_by_field_selector_sees_objects_enter_and_leave(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    version = (await api_server.get()).body["metadata"]["resourceVersion"]
    query = {"resourceVersion": version, "fieldSelector": "spec.nodeName=edge0"}
    async with api_server.http.watch(api_server.path, **query) as events:
        await api_server.merge("a", {"spec": {"nodeName": "edge0"}})
        await api_server.merge("a", {"spec": {"nodeName": "edge1"}})
        assert [(await events.next())["type"] for _ in range(2)] == ["ADDED", "DELETED"]


async def test_watch_of_tables_has_one_row_an_event(api_server: Server) -> None:
    version = (await api_server.get()).body["metadata"]["resourceVersion"]
    async with api_server.http.watch(api_server.path, accept=TABLE, resourceVersion=version) as events:
        await api_server.create(dataset("a"))
        first = await events.next()
        await api_server.merge("a", {"spec": {"nodeName": "edge0"}})
        second = await events.next()
    assert (first["type"], first["object"]["kind"]) == ("ADDED", "Table")
    assert first["object"]["columnDefinitions"][0]["name"] == "Name"
    assert first["object"]["rows"][0]["cells"][0] == "a"
    assert not second["object"].get("columnDefinitions")
    assert second["object"]["rows"][0]["cells"][2] == "edge0"


async def test_streamed_list_ends_with_an_annotated_bookmark(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    query = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
    async with api_server.http.watch(api_server.path, **query) as events:
        assert (await events.next())["type"] == "ADDED"
        end = await events.next()
    assert end["type"] == "BOOKMARK"
    assert end["object"]["kind"] == "Dataset"
    assert end["object"]["apiVersion"] == API_VERSION
    assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert int(end["object"]["metadata"]["resourceVersion"]) > 0


async def test_streamed_list_wants_a_version_match(api_server: Server) -> None:
    answer = await api_server.get(watch="true", sendInitialEvents="true")
    assert (answer.code, answer.body["reason"]) == (422, "Invalid")
    assert "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan" in answer.body["message"]


async def test_watch_from_a_forgotten_version_is_told_to_list_again(api_server: Server) -> None:
    api_server.forget()
    async with api_server.http.watch(api_server.path, resourceVersion="1") as events:
        assert events.code == 200
        error = await events.next()
        assert await events.next() is None
    assert error["type"] == "ERROR"
    assert (error["object"]["code"], error["object"]["reason"]) == (410, "Expired")
    assert error["object"]["message"].startswith("too old resource version: 1 (")


async def test_watch_ends_after_the_time_that_the_client_names(api_server: Server) -> None:
    async with api_server.http.watch(api_server.path, timeoutSeconds="1") as events:
        assert await events.next() is None


async def test_version_that_is_no_number_is_refused(api_server: Server) -> None:
    answer = await api_server.get(watch="true", resourceVersion="abc")
    assert answer.code == 500
    assert answer.body["message"].startswith('resourceVersion: Invalid value: "abc": strconv.ParseUint')
    assert "reason" not in answer.body


async def test_version_from_the_future_times_out(api_server: Server) -> None:
    answer = await api_server.get(resourceVersion="999999999")
    assert (answer.code, answer.body["reason"]) == (504, "Timeout")
    assert "Too large resource version: 999999999, current: " in answer.body["message"]
    assert answer.body["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_discovery_names_the_resource(api_server: Server) -> None:
    found = (await api_server.http.call("GET", f"/apis/{GROUP}/v1alpha1")).body
    assert found["groupVersion"] == API_VERSION
    entries = {each["name"]: each for each in found["resources"]}
    plain = entries["datasets"]
    assert plain["singularName"] == "dataset"
    assert plain["shortNames"] == ["cdset"]
    assert plain["categories"] == ["contract"]
    assert set(plain["verbs"]) == {"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
    assert set(entries["datasets/status"]["verbs"]) == {"get", "patch", "update"}
    groups = (await api_server.http.call("GET", "/apis")).body["groups"]
    assert GROUP in {each["name"] for each in groups}
    one = (await api_server.http.call("GET", f"/apis/{GROUP}")).body
    assert one["preferredVersion"] == {"groupVersion": API_VERSION, "version": "v1alpha1"}


async def test_events_are_seen_in_both_groups(api_server: Server) -> None:
    path = f"/apis/events.k8s.io/v1/namespaces/{api_server.namespace}/events"
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "neptune.io/x",
        "reportingInstance": "x-1",
        "action": "Counting",
        "reason": "Counted",
        "regarding": {"kind": "Dataset", "name": "a", "namespace": api_server.namespace, "apiVersion": API_VERSION},
        "note": "three samples",
        "type": "Normal",
    }
    assert (await api_server.http.call("POST", path, body)).code == 201
    core = f"/api/v1/namespaces/{api_server.namespace}/events"
    listed = await api_server.http.call("GET", core, fieldSelector="involvedObject.name=a,reason=Counted")
    found = listed.body["items"]
    assert [(each["message"], each["reportingComponent"]) for each in found] == [("three samples", "neptune.io/x")]
    assert (await api_server.http.call("GET", core, fieldSelector="involvedObject.name=b")).body["items"] == []


async def test_lease_is_taken_by_one_of_two(api_server: Server) -> None:
    path = f"/apis/coordination.k8s.io/v1/namespaces/{api_server.namespace}/leases"
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15}}
    made = (await api_server.http.call("POST", path, lease)).body
    made["spec"]["holderIdentity"] = "two"
    assert (await api_server.http.call("PUT", f"{path}/l", made)).code == 200
    made["spec"]["holderIdentity"] = "three"
    assert (await api_server.http.call("PUT", f"{path}/l", made)).code == 409
