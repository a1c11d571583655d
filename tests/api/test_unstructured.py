from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from neptune.api import Dataset, PartialObjectMetadata, ResourceType, Unstructured

DEPLOYMENTS = ResourceType("apps", "v1", "Deployment", "deployments")


class Deployment(Unstructured.of(DEPLOYMENTS)):  # type: ignore[misc]  # mypy wants a class that it can see
    """One that somebody adds a method to."""


def pickled(each: Any) -> Any:
    return pickle.loads(pickle.dumps(each))  # noqa: S301  # of our own


def test_a_kind_has_one_class() -> None:
    assert Unstructured.of(DEPLOYMENTS) is Unstructured.of(ResourceType("apps", "v1", "Deployment", "deployments"))
    assert Unstructured.of(DEPLOYMENTS) is not Unstructured.of(Dataset.resource)
    assert PartialObjectMetadata.of(Dataset) is PartialObjectMetadata.of(Dataset.resource)


def test_fields_are_plain_json_and_a_patch_holds_what_changed() -> None:
    deployment = Unstructured.of(DEPLOYMENTS).from_dict(
        {"metadata": {"name": "a"}, "spec": {"replicas": 1, "paused": True}}
    )
    assert (deployment["spec"]["replicas"], "status" in deployment, deployment.get("status")) == (1, False, None)
    deployment["spec"]["replicas"] = 3
    deployment["status"] = {"ready": 0}
    assert deployment.merge_patch() == {"spec": {"replicas": 3}, "status": {"ready": 0}}
    with pytest.raises(KeyError):
        deployment["data"]


def test_one_that_is_made_here_names_its_kind() -> None:
    deployment = Unstructured.of(DEPLOYMENTS)()
    deployment.metadata.name = "a"
    deployment["spec"] = {}
    assert deployment.to_dict() == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "a"},
        "spec": {},
    }


def test_metadata_alone_keeps_nothing_else_and_goes_by_the_name_of_its_kind() -> None:
    answer = {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": "a", "namespace": "ns"},
        "spec": {"url": "/a"},
    }
    item = PartialObjectMetadata.of(Dataset).from_dict(answer)
    assert (item.kind, item.api_version) == ("Dataset", "neptune.io/v1alpha1")
    assert "spec" not in item.to_dict()
    item.metadata.labels["a"] = "b"
    assert item.merge_patch() == {"metadata": {"labels": {"a": "b"}}}


@pytest.mark.parametrize("cls", [Unstructured.of(DEPLOYMENTS), PartialObjectMetadata.of(DEPLOYMENTS), Deployment])
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_a_class_that_was_made_and_its_objects_can_be_copied_and_pickled(cls: Any, again: Callable[[Any], Any]) -> None:
    deployment = cls.from_dict({"metadata": {"name": "a"}, "spec": {"replicas": 1}})
    deployment.metadata.labels["a"] = "b"
    assert again(cls) is cls
    assert again(deployment) == deployment
    assert again(deployment).merge_patch() == {"metadata": {"labels": {"a": "b"}}}
