"""The pure server on virtual time: what the contract tests cannot see, or what the real server has controllers for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from neptune.embedded.apiserver import ApiServer, Request, Response, Watch
from tests.support.contract_crd import CRD, GROUP, dataset
from tests.support.pure_server import CRDS, DATASETS, PureServer

NAMESPACE = "/api/v1/namespaces"


def test_time_comes_from_the_caller_alone() -> None:
    server = PureServer()
    server.advance(90)
    made = server.call("POST", DATASETS, dataset("a"))
    assert made["metadata"]["creationTimestamp"] == "2026-01-01T00:01:30Z"
    server.advance(125)
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    answer = server.core.handle(Request("GET", DATASETS, accept=accept), server.now)
    assert isinstance(answer, Response)
    assert isinstance(answer.body, dict)
    assert answer.body["rows"][0]["cells"][6] == "2m5s"


def test_same_seed_gives_the_same_names_and_uids() -> None:
    body = {**dataset(), "metadata": {"generateName": "run-"}}
    made = [PureServer(seed=7).call("POST", DATASETS, body)["metadata"] for _ in range(2)]
    assert made[0] == made[1]
    assert PureServer(seed=8).call("POST", DATASETS, body)["metadata"]["uid"] != made[0]["uid"]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_health_is_plain_text(path: str) -> None:
    assert PureServer().ask("GET", path) == Response(200, "ok")


def test_namespace_takes_its_content_along() -> None:
    server = PureServer()
    server.call("POST", NAMESPACE, {"metadata": {"name": "n"}})
    server.call("POST", f"{NAMESPACE}/n/configmaps", {"metadata": {"name": "c"}, "data": {"a": "b"}})
    server.call("POST", DATASETS.replace("default", "n"), dataset("a"))
    gone = server.call("DELETE", f"{NAMESPACE}/n")
    assert gone["status"]["phase"] == "Terminating"
    assert server.ask("GET", f"{NAMESPACE}/n").code == 404
    assert server.call("GET", f"/apis/{GROUP}/v1alpha1/datasets")["items"] == []


def test_namespace_waits_for_a_finalizer_and_takes_nothing_new() -> None:
    server = PureServer()
    server.call("POST", NAMESPACE, {"metadata": {"name": "n"}})
    path = DATASETS.replace("default", "n")
    body = dataset("a")
    body["metadata"]["finalizers"] = ["neptune.io/x"]
    server.call("POST", path, body)
    server.call("DELETE", f"{NAMESPACE}/n")
    refused = server.ask("POST", path, dataset("b"))
    assert refused.code == 403
    assert isinstance(refused.body, dict)
    assert refused.body["message"] == (
        f'datasets.{GROUP} "b" is forbidden: unable to create new content in namespace n because it is being terminated'
    )
    assert server.call("GET", f"{NAMESPACE}/n")["status"]["phase"] == "Terminating"
    server.call("PATCH", f"{path}/a", {"metadata": {"finalizers": None}})
    assert server.ask("GET", f"{NAMESPACE}/n").code == 404


def test_namespace_of_the_system_stays() -> None:
    assert PureServer().ask("DELETE", f"{NAMESPACE}/default").code == 403


def test_crd_takes_its_objects_along() -> None:
    server = PureServer()
    server.call("POST", DATASETS, dataset("a"))
    watch = server.watch(DATASETS, resourceVersion=str(server.core.revision))
    server.call("DELETE", f"{CRDS}/datasets.{GROUP}")
    assert [kind for kind, _ in server.events(watch)] == ["DELETED"]
    assert server.ask("GET", DATASETS).code == 404
    server.call("POST", CRDS, CRD)
    assert server.call("GET", DATASETS)["items"] == []


def test_changed_crd_is_served_at_once_and_keeps_its_established_time() -> None:
    server = PureServer()
    before = server.call("GET", f"{CRDS}/datasets.{GROUP}")
    server.advance(60)
    versions = json.loads(json.dumps(before["spec"]["versions"]))
    schema = versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    schema["extra"] = {"type": "string"}
    after = server.call("PATCH", f"{CRDS}/datasets.{GROUP}", {"spec": {"versions": versions}})
    assert after["metadata"]["generation"] == 2
    assert after["status"]["conditions"] == before["status"]["conditions"]
    assert server.call("POST", DATASETS, dataset("a", extra="x"))["spec"]["extra"] == "x"


def test_versions_of_a_crd_share_their_objects() -> None:
    server = PureServer()
    one = CRD["spec"]["versions"][0]
    versions = [{**one, "storage": False}, {**one, "name": "v1"}]
    server.call("PATCH", f"{CRDS}/datasets.{GROUP}", {"spec": {"versions": versions}})
    server.call("POST", DATASETS, dataset("a"))
    found = server.call("GET", f"{DATASETS.replace('v1alpha1', 'v1')}/a")
    assert found["apiVersion"] == f"{GROUP}/v1"
    group = server.call("GET", f"/apis/{GROUP}")
    assert [each["version"] for each in group["versions"]] == ["v1", "v1alpha1"]
    assert server.call("GET", f"{CRDS}/datasets.{GROUP}")["status"]["storedVersions"] == ["v1alpha1", "v1"]


def test_version_that_is_no_longer_served_is_gone() -> None:
    server = PureServer()
    one = CRD["spec"]["versions"][0]
    for served, code in ((True, 200), (False, 404)):
        versions = [one, {**one, "name": "v1", "storage": False, "served": served}]
        server.call("PATCH", f"{CRDS}/datasets.{GROUP}", {"spec": {"versions": versions}})
        assert server.ask("GET", DATASETS.replace("v1alpha1", "v1")).code == code


def test_cluster_scoped_kind_has_no_namespace() -> None:
    server = PureServer()
    spec = {**CRD["spec"], "group": "wide.example", "scope": "Cluster", "names": {"kind": "Thing", "plural": "things"}}
    server.call("POST", CRDS, {**CRD, "metadata": {"name": "things.wide.example"}, "spec": spec})
    body = {**dataset("a"), "apiVersion": "wide.example/v1alpha1", "kind": "Thing"}
    path = "/apis/wide.example/v1alpha1/things"
    assert "namespace" not in server.call("POST", path, body)["metadata"]
    assert server.call("GET", f"{path}/a")["kind"] == "Thing"
    assert server.ask("GET", "/apis/wide.example/v1alpha1/namespaces/default/things/a").code == 404


def test_secret_is_stored_encoded() -> None:
    server = PureServer()
    body = {"metadata": {"name": "s"}, "stringData": {"user": "me"}}
    made = server.call("POST", "/api/v1/namespaces/default/secrets", body)
    assert (made["data"], made["type"], "stringData" in made) == ({"user": "bWU="}, "Opaque", False)


def test_failed_write_stores_nothing() -> None:
    server = PureServer()
    server.call("POST", DATASETS, dataset("a"))
    revision = server.core.revision
    server.ask("POST", DATASETS, dataset("a"))
    server.ask("PATCH", f"{DATASETS}/a", {"spec": {"format": "zip"}})
    server.ask("DELETE", f"{DATASETS}/b")
    server.ask("DELETE", f"{DATASETS}/a", [1])
    assert server.core.revision == revision


def test_answer_does_not_change_when_the_object_does() -> None:
    server = PureServer()
    made = server.call("POST", DATASETS, dataset("a"))
    copy = json.loads(json.dumps(made))
    server.call("PATCH", f"{DATASETS}/a", {"spec": {"copies": 5}, "metadata": {"labels": {"x": "y"}}})
    server.call("PATCH", f"{DATASETS}/a/status", {"status": {"numberOfSamples": 5}})
    server.call("DELETE", f"{DATASETS}/a")
    assert made == copy


@pytest.mark.parametrize("path", ["/openapi/v3", f"/openapi/v3/apis/{GROUP}/v1alpha1", "/openapi/v3/api/v1"])
def test_openapi_refers_to_nothing_that_is_missing(path: str) -> None:
    page: Any = PureServer().call("GET", path)
    schemas = page.get("components", {}).get("schemas", {})
    text = json.dumps(page)
    assert all(text.count(f"#/components/schemas/{name}") for name in schemas)
    assert text.count('"$ref"') == sum(text.count(f'"#/components/schemas/{name}"') for name in schemas)


def test_openapi_patch_takes_field_validation() -> None:
    page: Any = PureServer().call("GET", f"/openapi/v3/apis/{GROUP}/v1alpha1")
    patch = page["paths"][f"/apis/{GROUP}/v1alpha1/namespaces/{{namespace}}/datasets/{{name}}"]["patch"]
    assert "fieldValidation" in {each["name"] for each in patch["parameters"]}
    assert patch["x-kubernetes-group-version-kind"] == {"group": GROUP, "version": "v1alpha1", "kind": "Dataset"}
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]


def test_rules_are_accepted_and_not_evaluated() -> None:
    server = PureServer()
    versions = json.loads(json.dumps(CRD["spec"]["versions"]))
    root = versions[0]["schema"]["openAPIV3Schema"]
    root["x-kubernetes-validations"] = [{"rule": "false", "message": "never"}]
    server.call("PATCH", f"{CRDS}/datasets.{GROUP}", {"spec": {"versions": versions}})
    assert server.ask("POST", DATASETS, dataset("a")).code == 201


@pytest.mark.parametrize("media", ["application/json", "application/yaml"])
def test_half_a_surrogate_pair_is_replaced(media: str) -> None:
    server = PureServer()
    text = json.dumps(dataset("a", nodeName="X")).replace("X", "\\ud800 \\ud83d\\ude00")
    answer = server.core.handle(Request("POST", DATASETS, content_type=media, body=text.encode()), server.now)
    assert isinstance(answer, Response)
    assert isinstance(answer.body, dict)
    assert answer.body["spec"]["nodeName"] == "\ufffd \U0001f600"


@pytest.mark.parametrize("text", ["a: &x [*x]", "a: !!set {b}", "a: .nan", "a: !!binary YQ==", "a: [", "{1: [2]: 3}"])
def test_yaml_that_is_no_json_is_a_bad_request(text: str) -> None:
    server = PureServer()
    answer = server.core.handle(
        Request("POST", DATASETS, content_type="application/yaml", body=text.encode()), server.now
    )
    assert isinstance(answer, Response)
    assert answer.code == 400


def test_times_in_yaml_stay_text() -> None:
    server = PureServer()
    text = "apiVersion: contract.neptune.io/v1alpha1\nkind: Dataset\nmetadata: {name: a}\nspec: {url: /a, format: txt, "
    text += "since: 2026-01-01T00:00:00Z}"
    asked = Request("POST", DATASETS, content_type="application/yaml", body=text.encode())
    answer = server.core.handle(asked, server.now)
    assert isinstance(answer, Response)
    assert isinstance(answer.body, dict)
    assert answer.body["spec"]["since"] == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("free", ["NaN", "[" * 50_000 + "]" * 50_000, '{"a":' * 600 + "1" + "}" * 600])
def test_body_that_python_reads_and_json_does_not_allow_is_a_bad_request(free: str) -> None:
    server = PureServer()
    text = json.dumps(dataset("a", free={"x": "X"})).replace('"X"', free)
    answer = server.core.handle(Request("POST", DATASETS, body=text.encode()), server.now)
    assert isinstance(answer, Response)
    assert answer.code == 400
    assert server.ask("GET", f"{DATASETS}/a").code == 404


def test_server_is_one_function_of_request_and_time() -> None:
    server = PureServer()
    assert isinstance(server.core, ApiServer)
    assert isinstance(server.watch(DATASETS), Watch)
