"""A node's question for credentials, a real API server's Secrets, and what the node is told."""

from __future__ import annotations

import pytest
import structlog

from neptune.api import Dataset, DatasetSpec, ObjectMeta
from neptune.api.core import Event, Secret
from neptune.controllers.dataset.credentials import MAX_VALUE_LENGTH, Unusable, chosen
from neptune.protocol.messages import CredentialsResult, GetCredentials, Header
from neptune.protocol.topics import Verb
from neptune.transport.broker import BrokerCore
from tests.controllers.cluster import Cluster, controller
from tests.controllers.nodes import Voice, eventually
from tests.edge.bench import sealed

PASSWORD = "correct-horse-battery"
URL = "https://data.example.com/reviews.txt"


async def a_dataset(cluster: Cluster, *, url: str = URL, name: str = "login") -> Dataset:
    spec = DatasetSpec(url=url, format="txt", node_name="edge0", credential_name=name)
    return await cluster.client.create(Dataset(metadata=ObjectMeta(namespace=cluster.namespace, name="a"), spec=spec))


async def a_secret(cluster: Cluster, **data: str) -> Secret:
    meta = ObjectMeta(namespace=cluster.namespace, name="login")
    return await cluster.client.create(Secret(metadata=meta, string_data=data))


async def answer(node: Voice, uid: str, event_id: str, *, encrypted: bool = True) -> tuple[Header, CredentialsResult]:
    await node.say(Verb.GET, GetCredentials(uid, encrypted), event_id=event_id)

    def found() -> list[tuple[Header, CredentialsResult]]:
        told = [(header, body) for header, body in node.messages if isinstance(body, CredentialsResult)]
        return [(header, body) for header, body in told if header.event_id == event_id]

    ((header, body),) = await eventually(found)
    return header, body


async def test_a_node_gets_the_keys_of_its_own_dataset_as_they_are_now(cluster: Cluster, broker: BrokerCore) -> None:
    secret = await a_secret(cluster, username="us", password="first", other="not sent")
    uid = (await a_dataset(cluster)).metadata.uid
    async with controller(cluster, broker, over=sealed(broker, "cloud")), Voice(broker, "edge0") as node:
        header, body = await answer(node, uid, "q1")
        assert (header.code, body) == (200, CredentialsResult(uid, {"username": "us", "password": "first"}))
        secret.data["password"] = PASSWORD.encode()
        await cluster.client.update(secret)
        assert (await answer(node, uid, "q2"))[1].values["password"] == PASSWORD


async def test_another_node_gets_none(cluster: Cluster, broker: BrokerCore) -> None:
    await a_secret(cluster, token=PASSWORD)
    uid = (await a_dataset(cluster)).metadata.uid
    async with (
        controller(cluster, broker, over=sealed(broker, "cloud")),
        Voice(broker, "edge0") as node,
        Voice(broker, "edge1") as other,
    ):
        assert (await answer(node, uid, "q1"))[0].code == 200
        header, body = await answer(other, uid, "mine?")
        assert (header.code, body) == (403, CredentialsResult(uid))


async def test_without_tls_here_or_there_no_secret_is_read(cluster: Cluster, broker: BrokerCore) -> None:
    uid = (await a_dataset(cluster)).metadata.uid
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        header, _ = await answer(node, uid, "q1")
        assert header.code == 426
        assert "cloud-controller" in header.reason
    async with controller(cluster, broker, over=sealed(broker, "cloud")), Voice(broker, "edge0") as node:
        assert (await answer(node, uid, "q1"))[0].code == 404
        header, _ = await answer(node, uid, "plain", encrypted=False)
        assert header.code == 426
        assert "edge-agent" in header.reason


async def test_what_is_wrong_is_told_to_the_node_and_in_an_event_and_no_value_is_shown(
    cluster: Cluster, broker: BrokerCore
) -> None:
    with structlog.testing.capture_logs() as logs:
        uid = (await a_dataset(cluster)).metadata.uid
        async with controller(cluster, broker, over=sealed(broker, "cloud")), Voice(broker, "edge0") as node:
            header, _ = await answer(node, uid, "q1")
            assert (header.code, header.reason.partition(":")[0]) == (
                404,
                f"there is no Secret {cluster.namespace}/login",
            )
            await a_secret(cluster, username=PASSWORD)
            header, _ = await answer(node, uid, "q2")
            assert header.code == 422
            assert "token, or username and password" in header.reason
    events = await cluster.client.list(Event, cluster.namespace)
    notes = {event.note for event in events.items if event.reason == "NoCredentials"}
    assert len(notes) == 2
    assert PASSWORD not in str(logs) + str(notes)


@pytest.mark.parametrize(
    ("url", "keys", "sent"),
    [
        ("s3://b/k", "accessKeyID secretAccessKey", "accessKeyID secretAccessKey"),
        ("S3://b/k", "accessKeyID secretAccessKey sessionToken region endpoint token",
         "accessKeyID secretAccessKey sessionToken region endpoint"),
        ("http://h/x", "username password region", "username password"),
        ("https://h/x", "username password token", "token"),
    ],
)  # fmt: skip
def test_only_the_keys_that_a_url_calls_for_are_sent(url: str, keys: str, sent: str) -> None:
    assert sorted(chosen(url, dict.fromkeys(keys.split(), b"v"))) == sorted(sent.split())


@pytest.mark.parametrize(
    ("url", "data", "why"),
    [
        ("s3://b/k", {"accessKeyID": b"v"}, "accessKeyID and secretAccessKey"),
        ("https://h/x", {}, "token, or username and password"),
        ("https://h/x", {"token": b"hidden\n"}, "under token what is no text"),
        ("https://h/x", {"token": b""}, "under token what is no text"),
        ("https://h/x", {"token": b"hidden\xff"}, "under token what is no text"),
        ("https://h/x", {"token": b"hidden" * MAX_VALUE_LENGTH}, "under token what is no text"),
        ("/data/a.txt", {"token": b"hidden"}, "for http(s):// and s3:// urls"),
    ],
)
def test_a_secret_that_cannot_be_used_is_said_to_lack_something_and_not_shown(
    url: str, data: dict[str, bytes], why: str
) -> None:
    with pytest.raises(Unusable) as caught:
        chosen(url, data)
    assert why in str(caught.value)
    assert "hidden" not in str(caught.value)
