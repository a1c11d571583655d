"""What an API server refuses, prunes and fills in: the same cases on the embedded server and on a real one."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.conftest import Server
from tests.support.contract_crd import CRD, GROUP, dataset

KIND = f"Dataset.{GROUP}"


@pytest.mark.parametrize(
    ("spec", "reason", "field", "message"),
    [
        ({"format": "foo"}, "NotSupported", "format", 'Unsupported value: "foo": supported values: "csv", "txt"'),
        ({"format": None}, "Required", "format", "Required value"),
        (
            {"url": 3},
            "TypeInvalid",
            "url",
            'Invalid value: "integer": spec.url in body must be of type string: "integer"',
        ),
        ({"url": "/" * 21}, "TooLong", "url", "Too long: may not be more than 20 bytes"),
        ({"url": "/"}, "Invalid", "url", 'Invalid value: "/": spec.url in body should be at least 2 chars long'),
        ({"url": "data"}, "Invalid", "url", "Invalid value: \"data\": spec.url in body should match '^/'"),
        (
            {"copies": -1},
            "Invalid",
            "copies",
            "Invalid value: -1: spec.copies in body should be greater than or equal to 0",
        ),
        (
            {"copies": 10},
            "Invalid",
            "copies",
            "Invalid value: 10: spec.copies in body should be less than or equal to 9",
        ),
        (
            {"copies": 1.5},
            "TypeInvalid",
            "copies",
            'Invalid value: "number": spec.copies in body must be of type integer: "number"',
        ),
        (
            {"share": "half"},
            "TypeInvalid",
            "share",
            'Invalid value: "string": spec.share in body must be of type number: "string"',
        ),
        (
            {"since": "today"},
            "TypeInvalid",
            "since",
            'Invalid value: "today": spec.since in body must be of type date-time: "today"',
        ),
        ({"tags": ["a", "b", "c"]}, "TooMany", "tags", "Too many: 3: must have at most 2 items"),
        ({"tags": ["a", "a"]}, "Duplicate", "tags[1]", 'Duplicate value: "a"'),
        (
            {"tags": [1]},
            "TypeInvalid",
            "tags[0]",
            'Invalid value: "integer": spec.tags[0] in body must be of type string: "integer"',
        ),
        (
            {"options": {"k": 1}},
            "TypeInvalid",
            "options.k",
            'Invalid value: "integer": spec.options.k in body must be of type string: "integer"',
        ),
        (
            {"split": []},
            "TypeInvalid",
            "split",
            'Invalid value: "array": spec.split in body must be of type object: "array"',
        ),
        (
            {"port": True},
            "TypeInvalid",
            "port",
            'Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean"',
        ),
    ],
)
async def test_value_outside_the_schema_is_invalid(
    api_server: Server, spec: dict[str, Any], reason: str, field: str, message: str
) -> None:
    made = await api_server.create(dataset("a", **spec))
    assert made.code == 422
    assert made.body["reason"] == "Invalid"
    cause = {"reason": f"FieldValue{reason}", "message": message, "field": f"spec.{field}"}
    assert cause in made.body["details"]["causes"]
    assert made.body["details"]["kind"] == "Dataset"
    assert made.body["details"]["group"] == GROUP
    if len(made.body["details"]["causes"]) == 1:
        assert made.body["message"] == f'{KIND} "a" is invalid: spec.{field}: {message}'


async def test_several_faults_stand_in_brackets(api_server: Server) -> None:
    made = await api_server.create(dataset("a", format="foo", copies=-1))
    assert made.body["message"].startswith(f'{KIND} "a" is invalid: [spec.')
    assert {cause["field"] for cause in made.body["details"]["causes"]} == {"spec.format", "spec.copies"}


async def test_required_root_field_is_named(api_server: Server) -> None:
    body = dataset("a")
    del body["spec"]
    made = await api_server.create(body)
    assert made.body["message"] == f'{KIND} "a" is invalid: spec: Required value'


async def test_list_of_type_map_has_one_item_a_key(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    ready = {"type": "Ready", "status": "True"}
    answer = await api_server.merge("a", {"status": {"conditions": [ready, ready]}}, "status")
    assert answer.code == 422
    assert 'status.conditions[1]: Duplicate value: {"type":"Ready"}' in answer.body["message"]


async def test_unknown_field_is_an_error_under_strict(api_server: Server) -> None:
    made = await api_server.create(dataset("a", foo=1), fieldValidation="Strict")
    assert (made.code, made.body["reason"]) == (400, "BadRequest")
    assert made.body["message"] == (
        'Dataset in version "v1alpha1" cannot be handled as a Dataset: strict decoding error: unknown field "spec.foo"'
    )


async def test_unknown_field_is_pruned_with_a_warning_by_default(api_server: Server) -> None:
    made = await api_server.create({**dataset("a", foo=1), "more": {}})
    assert made.code == 201
    assert "foo" not in made.body["spec"]
    assert "more" not in made.body
    assert sorted(made.warnings) == ['299 - "unknown field \\"more\\""', '299 - "unknown field \\"spec.foo\\""']


async def test_unknown_field_is_pruned_silently_under_ignore(api_server: Server) -> None:
    made = await api_server.create(dataset("a", foo=1), fieldValidation="Ignore")
    assert (made.code, made.warnings) == (201, ())
    assert "foo" not in made.body["spec"]


async def test_unknown_field_in_a_patch_is_an_error_under_strict(api_server: Server) -> None:
    await api_server.create(dataset("a"))
    answer = await api_server.merge("a", {"spec": {"foo": 1}}, fieldValidation="Strict")
    assert answer.code == 422
    assert 'strict decoding error: unknown field "spec.foo"' in answer.body["message"]


async def test_unknown_metadata_field_is_an_error_under_strict(api_server: Server) -> None:
    body = dataset("a")
    body["metadata"]["foo"] = "x"
    made = await api_server.create(body, fieldValidation="Strict")
    assert made.code == 400
    assert 'unknown field "metadata.foo"' in made.body["message"]


async def test_free_parts_keep_what_they_hold(api_server: Server) -> None:
    made = await api_server.create(dataset("a", free={"x": [1, {"y": None}]}, options={"k": "v"}, port="http"))
    assert made.body["spec"]["free"] == {"x": [1, {"y": None}]}
    assert made.body["spec"]["options"] == {"k": "v"}
    assert made.body["spec"]["port"] == "http"
    assert made.warnings == ()


async def test_defaults_fill_present_objects_only(api_server: Server) -> None:
    made = await api_server.create(dataset("a", split={}))
    assert made.body["spec"]["split"] == {"train": 8}
    assert "split" not in (await api_server.create(dataset("b"))).body["spec"]


async def test_null_is_kept_where_nullable_and_dropped_elsewhere(api_server: Server) -> None:
    body = dataset("a")
    body["spec"] |= {"note": None, "nodeName": None, "copies": None}
    made = await api_server.create(body)
    assert made.code == 201
    assert made.body["spec"]["note"] is None
    assert "nodeName" not in made.body["spec"]
    assert made.body["spec"]["copies"] == 1


@pytest.mark.parametrize("name", ["A", "a_b", "-a", "a..b"])
async def test_name_is_a_subdomain(api_server: Server, name: str) -> None:
    made = await api_server.create(dataset(name))
    assert made.code == 422
    assert made.body["message"] == (
        f'{KIND} "{name}" is invalid: metadata.name: Invalid value: "{name}": a lowercase RFC 1123 subdomain must '
        "consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric "
        "character (e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )


async def test_name_is_required(api_server: Server) -> None:
    body = dataset()
    body["metadata"] = {}
    made = await api_server.create(body)
    assert made.code == 422
    assert made.body["message"] == (
        f'{KIND} "" is invalid: metadata.name: Required value: name or generateName is required'
    )


@pytest.mark.parametrize(("labels", "value"), [({"k": "no spaces"}, "no spaces"), ({"no spaces": "v"}, "no spaces")])
async def test_labels_keep_to_their_grammar(api_server: Server, labels: dict[str, str], value: str) -> None:
    body = dataset("a")
    body["metadata"]["labels"] = labels
    made = await api_server.create(body)
    assert made.code == 422
    assert f'metadata.labels: Invalid value: "{value}": ' in made.body["message"]


async def test_label_that_is_no_string_is_a_bad_request(api_server: Server) -> None:
    body = dataset("a")
    body["metadata"]["labels"] = {"k": 1}
    assert (await api_server.create(body)).code == 400


async def test_crd_is_served_and_says_so(api_server: Server) -> None:
    crd = await api_server.http.call("GET", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/datasets.{GROUP}")
    status = crd.body["status"]
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert status["storedVersions"] == ["v1alpha1"]
    names = crd.body["spec"]["names"]
    assert (names["singular"], names["listKind"]) == ("dataset", "DatasetList")
    assert status["acceptedNames"] == names


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metadata": {"name": "other.example.com"}}, "metadata.name"),
        ({"scope": "Galaxy"}, "spec.scope"),
        ({"versions": []}, "spec.versions"),
    ],
)
async def test_crd_that_makes_no_sense_is_invalid(api_server: Server, change: dict[str, Any], field: str) -> None:
    body = {
        **CRD,
        "metadata": change.get("metadata", {"name": "things.example.com"}),
        "spec": {**CRD["spec"], "group": "example.com", "names": {"kind": "Thing", "plural": "things"}},
    }
    body["spec"] |= {name: value for name, value in change.items() if name != "metadata"}
    made = await api_server.http.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    assert (made.code, made.body["reason"]) == (422, "Invalid")
    assert field in {cause["field"] for cause in made.body["details"]["causes"]}


async def test_groups_of_kubernetes_are_protected(api_server: Server) -> None:
    spec = {**CRD["spec"], "group": "events.k8s.io", "names": {"kind": "Thing", "plural": "things"}}
    body = {**CRD, "metadata": {"name": "things.events.k8s.io"}, "spec": spec}
    made = await api_server.http.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    assert made.code == 422
    assert "metadata.annotations[api-approved.kubernetes.io]: Required value: protected groups" in made.body["message"]
