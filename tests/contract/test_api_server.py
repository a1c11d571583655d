"""What an API server does with objects: the same cases on the embedded server and on a real kube-apiserver."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Server
from tests.support.contract_crd import API_VERSION, GROUP, dataset

READY = {"type": "Ready", "status": "True"}


async def test_created_object_has_the_fields_that_the_server_sets(api_server: Server) -> None:
    made = await api_server.create(dataset("a"))
    assert made.code == 201
    metadata = made.body["metadata"]
    assert metadata["generation"] == 1
    assert metadata["namespace"] == api_server.namespace
    assert metadata["uid"]
    assert metadata["creationTimestamp"].endswith("Z")
    assert made.body["spec"] == {"url": "/data/a", "format": "txt", "copies": 1}
    assert (await api_server.get("a")).body == made.body


async def test_status_is_dropped_from_a_creation(api_server: Server) -> None:
    made = await api_server.create({**dataset("a"), "status": {"numberOfSamples": 3}})
    assert "status" not in made.body


async def test_generated_name_starts_with_the_prefix(api_server: Server) -> None:
    body = {**dataset(), "metadata": {"generateName": "run-"}}
    name = (await api_server.create(body)).body["metadata"]["name"]
    assert name.startswith("run-")
    assert len(name) == len("run-") + 5


async def test_second_creation_of_a_name_is_refused(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    again = await api_server.create(dataset("a"))
    assert again.code == 409
    assert again.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'datasets.{GROUP} "a" already exists',
        "reason": "AlreadyExists",
        "details": {"name": "a", "group": GROUP, "kind": "datasets"},
        "code": 409,
    }


async def test_absent_object_is_not_found(api_server: Server) -> None:
    answer = await api_server.get("nobody")
    assert answer.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": f'datasets.{GROUP} "nobody" not found',
        "reason": "NotFound",
        "details": {"name": "nobody", "group": GROUP, "kind": "datasets"},
        "code": 404,
    }
    assert answer.code == 404


async def test_namespace_has_to_exist(api_server: Server) -> None:
    path = f"/apis/{GROUP}/v1alpha1/namespaces/nowhere/datasets"
    made = await api_server.http.call("POST", path, dataset("a"))
    assert (made.code, made.body["message"]) == (404, 'namespaces "nowhere" not found')
    assert made.body["details"] == {"name": "nowhere", "kind": "namespaces"}
    listed = await api_server.http.call("GET", path)
    assert (listed.code, listed.body["items"]) == (200, [])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {**dataset("a"), "metadata": {"name": "a", "namespace": "other"}},
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            {**dataset("a"), "apiVersion": "v1"},
            f"the API version in the data (v1) does not match the expected API version ({API_VERSION})",
        ),
    ],
)
async def test_creation_of_something_else_than_the_url_says_is_refused(
    api_server: Server, body: Any, message: str
) -> None:
    made = await api_server.create(body)
    assert (made.code, made.body["reason"], made.body["message"]) == (400, "BadRequest", message)


async def test_list_has_the_version_that_a_watch_goes_on_from(api_server: Server) -> None:
    made = (await api_server.create(dataset("b"))).body
    await api_server.create(dataset("a"))
    listed = (await api_server.get()).body
    assert listed["kind"] == "DatasetList"
    assert listed["apiVersion"] == API_VERSION
    assert [each["metadata"]["name"] for each in listed["items"]] == ["a", "b"]
    assert listed["items"][1] == made
    assert int(listed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


async def test_pages_show_the_state_of_the_first_one(api_server: Server) -> None:
    for name in "abc":
        await api_server.create(dataset(name))
    first = (await api_server.get(limit="2")).body
    assert [each["metadata"]["name"] for each in first["items"]] == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 1
    await api_server.delete("c")
    await api_server.create(dataset("d"))
    rest = (await api_server.get(**{"limit": "2", "continue": first["metadata"]["continue"]})).body
    assert [each["metadata"]["name"] for each in rest["items"]] == ["c"]
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert not rest["metadata"].get("continue")


async def test_update_bumps_the_generation_when_the_spec_changed(api_server: Server) -> None:
    made = (await api_server.create(dataset("a"))).body
    labelled = await api_server.put({**made, "metadata": {**made["metadata"], "labels": {"x": "y"}}})
    assert labelled.body["metadata"]["generation"] == 1
    assert labelled.body["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    changed = await api_server.put({**labelled.body, "spec": {**made["spec"], "copies": 2}})
    assert changed.body["metadata"]["generation"] == 2


async def test_update_that_changes_nothing_keeps_the_version(api_server: Server) -> None:
    made = (await api_server.create(dataset("a"))).body
    assert (await api_server.put(made)).body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    patched = await api_server.merge("a", {"spec": {"copies": 1}})
    assert patched.body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_update_from_an_old_version_conflicts(api_server: Server) -> None:
    made = (await api_server.create(dataset("a"))).body
    await api_server.merge("a", {"spec": {"copies": 2}})
    late = await api_server.put({**made, "spec": {**made["spec"], "copies": 3}})
    assert late.code == 409
    assert late.body["reason"] == "Conflict"
    assert late.body["details"] == {"name": "a", "group": GROUP, "kind": "datasets"}
    assert late.body["message"] == (
        f'Operation cannot be fulfilled on datasets.{GROUP} "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    version = made["metadata"]["resourceVersion"]
    late = await api_server.merge("a", {"metadata": {"resourceVersion": version}, "spec": {"copies": 3}})
    assert late.code == 409


async def test_update_without_a_version_is_invalid(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    answer = await api_server.put(dataset("a"))
    assert answer.code == 422
    assert answer.body["message"] == (
        f'datasets.{GROUP} "a" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update'
    )


async def test_update_of_another_uid_conflicts(api_server: Server) -> None:
    made = (await api_server.create(dataset("a"))).body
    answer = await api_server.put({**made, "metadata": {**made["metadata"], "uid": "other"}})
    assert answer.code == 409
    assert answer.body["reason"] == "Conflict"


async def test_update_of_an_absent_object_is_not_found(api_server: Server) -> None:
    body = dataset("a")
    body["metadata"]["resourceVersion"] = "1"
    assert (await api_server.put(body)).code == 404
    assert (await api_server.merge("a", {"spec": {}})).code == 404


async def test_update_under_another_name_is_refused(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    answer = await api_server.http.call("PUT", f"{api_server.path}/a", dataset("b"))
    assert answer.code == 400
    assert answer.body["message"] == "the name of the object (b) does not match the name on the URL (a)"


async def test_status_write_changes_the_status_only(api_server: Server) -> None:
    made = (await api_server.create(dataset("a"))).body
    sent = {**made, "spec": {"url": "/x", "format": "csv"}, "status": {"numberOfSamples": 0}}
    sent["metadata"] = {**made["metadata"], "labels": {"x": "y"}}
    written = (await api_server.put(sent, "status")).body
    assert written["spec"] == made["spec"]
    assert written["status"] == {"numberOfSamples": 0}
    assert "labels" not in written["metadata"]
    assert written["metadata"]["generation"] == 1
    patched = (await api_server.merge("a", {"status": {"numberOfSamples": 5}, "spec": {"copies": 4}}, "status")).body
    assert (patched["status"], patched["spec"]) == ({"numberOfSamples": 5}, made["spec"])


async def test_plain_write_leaves_the_status(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    await api_server.merge("a", {"status": {"numberOfSamples": 5}}, "status")
    patched = (await api_server.merge("a", {"status": {"numberOfSamples": 6}, "spec": {"copies": 4}})).body
    assert patched["status"] == {"numberOfSamples": 5}
    assert patched["metadata"]["generation"] == 2


async def test_merge_patch_removes_what_is_null(api_server: Server) -> None:
    await api_server.create(dataset("a", nodeName="edge0", options={"k": "v", "l": "w"}))
    patched = (await api_server.merge("a", {"spec": {"nodeName": None, "options": {"k": None}}})).body
    assert "nodeName" not in patched["spec"]
    assert patched["spec"]["options"] == {"l": "w"}


async def test_json_patch_tests_and_changes(api_server: Server) -> None:
    await api_server.create(dataset("a", tags=["x"]))
    patch = [
        {"op": "test", "path": "/spec/url", "value": "/data/a"},
        {"op": "add", "path": "/spec/tags/-", "value": "y"},
        {"op": "replace", "path": "/spec/copies", "value": 3},
        {"op": "remove", "path": "/spec/tags/0"},
    ]
    media = "application/json-patch+json"
    patched = await api_server.http.call("PATCH", f"{api_server.path}/a", patch, content_type=media)
    assert (patched.code, patched.body["spec"]["tags"], patched.body["spec"]["copies"]) == (200, ["y"], 3)
    again = [{"op": "test", "path": "/spec/copies", "value": 1}]
    refused = await api_server.http.call("PATCH", f"{api_server.path}/a", again, content_type=media)
    assert (refused.code, refused.body["reason"]) == (422, "Invalid")


async def test_strategic_merge_patch_of_a_custom_resource_is_an_unknown_format(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    media = "application/strategic-merge-patch+json"
    answer = await api_server.http.call("PATCH", f"{api_server.path}/a", {"spec": {}}, content_type=media)
    assert (answer.code, answer.body["reason"]) == (415, "UnsupportedMediaType")


async def test_deletion_without_finalizers_is_at_once(api_server: Server) -> None:
    made = (await api_server.create(dataset("a"))).body
    deleted = await api_server.delete("a")
    assert deleted.code == 200
    assert deleted.body == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": "a", "group": GROUP, "kind": "datasets", "uid": made["metadata"]["uid"]},
    }
    assert (await api_server.get("a")).code == 404
    assert (await api_server.delete("a")).code == 404


async def test_deletion_waits_for_the_last_finalizer(api_server: Server) -> None:
    body = dataset("a")
    body["metadata"]["finalizers"] = ["neptune.io/one", "neptune.io/two"]
    made = (await api_server.create(body)).body
    marked = await api_server.delete("a")
    assert marked.code == 200
    assert marked.body["metadata"]["deletionTimestamp"]
    assert marked.body["metadata"]["deletionGracePeriodSeconds"] == 0
    assert marked.body["metadata"]["generation"] == 2
    again = await api_server.delete("a")
    assert again.body["metadata"]["resourceVersion"] == marked.body["metadata"]["resourceVersion"]
    added = await api_server.merge("a", {"metadata": {"finalizers": ["neptune.io/one", "neptune.io/three"]}})
    assert added.code == 422
    assert "no new finalizers can be added if the object is being deleted" in added.body["message"]
    one = await api_server.merge("a", {"metadata": {"finalizers": ["neptune.io/one"]}})
    assert one.body["metadata"]["uid"] == made["metadata"]["uid"]
    assert (await api_server.get("a")).code == 200
    last = await api_server.merge("a", {"metadata": {"finalizers": None}})
    assert last.code == 200
    assert (await api_server.get("a")).code == 404


@pytest.mark.parametrize("what", ["uid", "resourceVersion"])
async def test_deletion_keeps_to_its_preconditions(api_server: Server, what: str) -> None:
    made = (await api_server.create(dataset("a"))).body
    options = {"kind": "DeleteOptions", "apiVersion": "v1"}
    refused = await api_server.delete("a", {**options, "preconditions": {what: "1"}})
    assert (refused.code, refused.body["reason"]) == (409, "Conflict")
    assert refused.body["message"].startswith(f'Operation cannot be fulfilled on Dataset.{GROUP} "a": the ')
    assert "in the precondition (1) does not match the" in refused.body["message"]
    done = await api_server.delete("a", {**options, "preconditions": {what: made["metadata"][what]}})
    assert done.code == 200


async def test_collection_is_deleted_by_selector(api_server: Server) -> None:
    for name in "abc":
        body = dataset(name)
        body["metadata"]["labels"] = {"drop": str(name != "b")}
        await api_server.create(body)
    deleted = await api_server.delete(labelSelector="drop=True")
    assert deleted.code == 200
    assert [each["metadata"]["name"] for each in deleted.body["items"]] == ["a", "c"]
    assert [each["metadata"]["name"] for each in (await api_server.get()).body["items"]] == ["b"]


async def test_dry_run_answers_and_stores_nothing(api_server: Server) -> None:
    made = await api_server.create(dataset("a"), dryRun="All")
    assert made.code == 201
    assert (await api_server.get("a")).code == 404
    await api_server.create(dataset("a"))
    assert (await api_server.merge("a", {"spec": {"copies": 7}}, dryRun="All")).body["spec"]["copies"] == 7
    assert (await api_server.delete("a", dryRun="All")).code == 200
    assert (await api_server.get("a")).body["spec"]["copies"] == 1
    assert (await api_server.create(dataset("b"), dryRun="Some")).code == 422


async def test_apply_creates_then_merges_and_names_the_manager(api_server: Server) -> None:
    media = "application/apply-patch+yaml"
    text = f"apiVersion: {API_VERSION}\nkind: Dataset\nmetadata: {{name: a}}\nspec: {{url: /data/a, format: txt}}\n"
    made = await api_server.http.call("PATCH", f"{api_server.path}/a", text, content_type=media, fieldManager="me")
    assert made.code == 201
    await api_server.merge("a", {"spec": {"nodeName": "edge0"}})
    sent = text.replace("format: txt", "format: csv")
    applied = await api_server.http.call("PATCH", f"{api_server.path}/a", sent, content_type=media, fieldManager="me")
    assert applied.code == 200
    assert applied.body["spec"] == {"url": "/data/a", "format": "csv", "nodeName": "edge0", "copies": 1}
    managers = [(each["manager"], each["operation"]) for each in applied.body["metadata"]["managedFields"]]
    assert ("me", "Apply") in managers
    again = await api_server.http.call("PATCH", f"{api_server.path}/a", sent, content_type=media, fieldManager="me")
    assert again.body["metadata"]["resourceVersion"] == applied.body["metadata"]["resourceVersion"]


async def test_applied_conditions_merge_by_type(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    await api_server.merge("a", {"status": {"conditions": [READY]}}, "status")
    body = {
        "apiVersion": API_VERSION,
        "kind": "Dataset",
        "status": {"conditions": [{"type": "Synced", "status": "False"}], "numberOfSamples": 1},
    }
    media = "application/apply-patch+yaml"
    query = {"fieldManager": "me", "force": "true"}
    answer = await api_server.http.call("PATCH", f"{api_server.path}/a/status", body, content_type=media, **query)
    conditions = {each["type"]: each["status"] for each in answer.body["status"]["conditions"]}
    assert conditions == {"Ready": "True", "Synced": "False"}


async def test_apply_refuses_unknown_fields_and_wants_a_manager(api_server: Server) -> None:
    media = "application/apply-patch+yaml"
    body = dataset("a", foo=1)
    answer = await api_server.http.call("PATCH", f"{api_server.path}/a", body, content_type=media, fieldManager="me")
    assert answer.code == 500
    assert answer.body["message"] == (
        f"failed to create typed patch object (/a; {API_VERSION}, Kind=Dataset): "
        ".spec.foo: field not declared in schema"
    )
    answer = await api_server.http.call("PATCH", f"{api_server.path}/a", dataset("a"), content_type=media)
    assert answer.code == 422
    assert "fieldManager: Required value: is required for apply patch" in answer.body["message"]


async def test_kinds_that_nobody_serves_are_not_found(api_server: Server) -> None:
    assert (await api_server.http.call("GET", f"/apis/{GROUP}/v1alpha1/nothings")).code == 404
    assert (await api_server.http.call("GET", f"/apis/{GROUP}/v9/datasets")).code == 404
    assert (await api_server.http.call("PUT", api_server.path, dataset("a"))).code == 400


async def test_body_that_is_no_json_is_a_bad_request(api_server: Server) -> None:
    answer = await api_server.create("{")
    assert (answer.code, answer.body["reason"]) == (400, "BadRequest")
