"""The core kinds: what they keep, and that a real API server takes and gives each of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from neptune.api import ObjectMeta, Resource, ResourceKey
from neptune.api.core import (
    ConfigMap,
    Container,
    EnvVar,
    Event,
    Lease,
    LeaseSpec,
    Node,
    NodeSpec,
    ObjectReference,
    Pod,
    PodSpec,
    Secret,
    Taint,
)
from neptune.runtime import Client

NOW = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)


def test_fields_that_a_type_does_not_name_are_kept() -> None:
    pod = Pod.from_dict({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "stdin": True}], "x": [1]}})
    pod.spec.containers[0].image = "b"
    assert pod.to_dict()["spec"] == {"containers": [{"name": "a", "image": "b", "stdin": True}], "x": [1]}


def test_a_secret_is_bytes_here_base64_on_the_wire_and_silent_in_repr() -> None:
    secret = Secret(data={"key": b"\x00word"}, string_data={"other": "word"})
    assert secret.to_dict()["data"] == {"key": "AHdvcmQ="}
    assert Secret.from_dict({"data": {"key": "AHdvcmQ="}}).data == {"key": b"\x00word"}
    assert "word" not in repr(secret)
    with pytest.raises(ValidationError):
        Secret.from_dict({"data": {"key": "no base64!"}})


def examples(namespace: str) -> list[Resource]:
    meta = ObjectMeta(namespace=namespace, name="a")
    return [
        ConfigMap(metadata=meta, data={"a": "b"}, binary_data={"c": b"\xff"}),
        Secret(metadata=meta, data={"a": b"\xff"}),
        Pod(
            metadata=meta,
            spec=PodSpec(containers=[Container(name="a", image="i", env=[EnvVar(name="E", value="1")])]),
        ),
        Lease(metadata=meta, spec=LeaseSpec(holder_identity="me", lease_duration_seconds=15, renew_time=NOW)),
        Event(
            metadata=meta,
            event_time=NOW,
            reporting_controller="example.com/test",
            reporting_instance="me",
            action="Test",
            reason="Tested",
            regarding=ObjectReference(kind="Pod", api_version="v1", namespace=namespace, name="a"),
            note="It works.",
            type="Normal",
        ),
        Node(
            metadata=ObjectMeta(name=namespace),
            spec=NodeSpec(taints=[Taint(key="a", effect="NoSchedule")], provider_id="p"),
        ),
    ]


def holds(got: Any, sent: Any) -> bool:
    """Tell whether everything that was sent came back; the server adds defaults."""
    if isinstance(sent, dict):
        return all(name in got and holds(got[name], value) for name, value in sent.items())
    if isinstance(sent, list):
        return all(any(holds(item, value) for item in got) for value in sent)
    return bool(got == sent)


async def test_a_real_api_server_gives_back_what_it_was_given(client: Client, namespace: str) -> None:
    for example in examples(namespace):
        created = await client.create(example)
        read = await client.get(type(example), ResourceKey(example.metadata.namespace, example.metadata.name))
        assert read == created
        assert holds(read.to_dict(), example.to_dict()), read
        read.metadata.labels["seen"] = "yes"
        assert (await client.patch(read)).metadata.labels["seen"] == "yes"
        await client.delete(read)
