"""An agent with datasets at urls: counted by its processes, asked now and then, never loaded by itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from neptune.edge import keyring
from neptune.protocol import messages
from neptune.protocol.topics import Topics
from neptune.transport.broker import BrokerCore
from tests.edge.bench import dataset, eventually, memory, running_agent, running_cloud, sealed, settings
from tests.support.s3 import BUCKET, S3Server
from tests.support.web import Web, serve


@pytest.fixture
def web() -> Iterator[Web]:
    with serve(Web()) as web:
        yield web


def root_of(web: Web) -> str:
    return web.url.removesuffix(web.path)


async def test_an_object_is_counted_asked_again_and_continued(web: Web, tmp_path: Path) -> None:
    web.content = b"a line\n" * 200_000
    broker = BrokerCore()
    config = settings(tmp_path, roots=(root_of(web),), url_seconds=0.4)
    async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
        cloud.objects["u1"] = dataset(web.url)
        async with running_agent(memory(broker, "agent"), config):
            await eventually(lambda: cloud.samples() == 200_000)
            asked = len(web.requests)
            await eventually(lambda: len(web.requests) >= asked + 2)
            assert web.requests[asked:] == [("HEAD", 0)] * len(web.requests[asked:])
            fetched = web.fetched
            web.content += b"more\n"
            await eventually(lambda: cloud.samples() == 200_001)
            assert web.fetched < fetched + 200_000
    assert [report.conditions[0].reason for report in cloud.reports[-2:]] == ["Counted", "Counted"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [("{root}/missing.txt", "NotFound"), ("http://elsewhere.example/x", "OutsideRoots"), ("{root}/a/../b", "BadUrl")],
)
async def test_what_cannot_be_read_is_a_condition(web: Web, tmp_path: Path, url: str, reason: str) -> None:
    broker = BrokerCore()
    config = settings(tmp_path, roots=(root_of(web),))
    async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
        cloud.objects["u1"] = dataset(url.format(root=root_of(web)))
        async with running_agent(memory(broker, "agent"), config):
            await eventually(lambda: cloud.reason() == reason)


async def test_a_bucket_that_wants_credentials_is_a_condition(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)  # where the node's S3 server is; its processes inherit it
    broker = BrokerCore()
    config = settings(tmp_path, roots=(f"s3://{BUCKET}/",))
    async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
        cloud.objects["u1"] = dataset(s3.put(str(uuid.uuid4()), b"1\n"))
        async with running_agent(memory(broker, "agent"), config):
            await eventually(lambda: cloud.reason() == "PermissionDenied")


LOGIN = {"username": "us", "password": "first"}
HEADERS = {"first": "Basic dXM6Zmlyc3Q=", "second": "Basic dXM6c2Vjb25k"}


async def test_credentials_are_asked_for_once_and_again_when_the_server_takes_others(web: Web, tmp_path: Path) -> None:
    web.content, web.authorization = b"1\n", HEADERS["first"]
    broker = BrokerCore()
    config = settings(tmp_path, roots=(root_of(web),), url_seconds=0.4)
    async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
        cloud.objects["u1"] = dataset(web.url, credential="login")
        cloud.credentials["u1"] = LOGIN
        async with running_agent(sealed(broker, "agent"), config):
            await eventually(lambda: cloud.samples() == 1)
            web.content += b"2\n"
            await eventually(lambda: cloud.samples() == 2)
            assert len(cloud.asked) == 1
            cloud.credentials["u1"] = {**LOGIN, "password": "second"}
            web.authorization = HEADERS["second"]
            web.content += b"3\n"
            await eventually(lambda: cloud.samples() == 3)
            assert len(cloud.asked) == 2
    assert {report.conditions[0].reason for report in cloud.reports} <= {"Counted", "Counting"}


async def test_wrong_credentials_are_a_condition_until_the_cloud_has_others(web: Web, tmp_path: Path) -> None:
    web.content, web.authorization = b"1\n", HEADERS["second"]
    broker = BrokerCore()
    config = settings(tmp_path, roots=(root_of(web),), url_seconds=0.4)
    async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
        cloud.objects["u1"] = dataset(web.url, credential="login")
        cloud.credentials["u1"] = LOGIN
        async with running_agent(sealed(broker, "agent"), config):
            await eventually(lambda: cloud.reason() == "PermissionDenied")
            assert "with these credentials" in cloud.latest["u1"].conditions[0].message
            cloud.credentials["u1"] = {**LOGIN, "password": "second"}
            await eventually(lambda: cloud.samples() == 1)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (messages.FORBIDDEN, "CredentialsForbidden"),
        (messages.NOT_FOUND, "CredentialsNotFound"),
        (messages.INVALID, "CredentialsInvalid"),
        (messages.UPGRADE, "CredentialsNeedTLS"),
        (418, "CredentialsUnavailable"),
    ],
)
async def test_a_refusal_is_a_condition_and_what_comes_after_it_heals(
    web: Web, tmp_path: Path, code: int, reason: str
) -> None:
    web.content, web.authorization = b"1\n", HEADERS["first"]
    broker = BrokerCore()
    config = settings(tmp_path, roots=(root_of(web),), url_seconds=0.4)
    async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
        cloud.objects["u1"] = dataset(web.url, credential="login")
        cloud.credentials["u1"] = (code, "what to do about it")
        async with running_agent(sealed(broker, "agent"), config):
            await eventually(lambda: cloud.reason() == reason)
            assert cloud.latest["u1"].conditions[0].message == "what to do about it"
            assert web.requests == []
            cloud.credentials["u1"] = LOGIN
            await eventually(lambda: cloud.samples() == 1)


async def test_a_node_without_tls_gets_no_credentials(web: Web, tmp_path: Path) -> None:
    broker = BrokerCore()
    config = settings(tmp_path, roots=(root_of(web),))
    async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
        cloud.objects["u1"] = dataset(web.url, credential="login")
        cloud.credentials["u1"] = LOGIN
        async with running_agent(memory(broker, "agent"), config):
            await eventually(lambda: cloud.reason() == "CredentialsNeedTLS")


async def test_another_secret_is_asked_for_at_once_and_the_old_one_is_not_used(web: Web, tmp_path: Path) -> None:
    web.content, web.authorization = b"1\n", HEADERS["first"]
    broker = BrokerCore()
    config = settings(tmp_path, roots=(root_of(web),))
    async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
        cloud.objects["u1"] = dataset(web.url, credential="login")
        cloud.credentials["u1"] = LOGIN
        async with running_agent(sealed(broker, "agent"), config):
            await eventually(lambda: cloud.samples() == 1)
            cloud.credentials["u1"] = (messages.NOT_FOUND, "there is none")
            await cloud.put(dataset(web.url, credential="other", generation=2))
            await eventually(lambda: cloud.reason() == "CredentialsNotFound")


async def test_a_cloud_that_says_nothing_is_a_condition_and_holds_up_nothing_else(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "PATIENCE_SECONDS", 0.2)
    web.content = b"1\n"
    broker = BrokerCore()
    config = settings(tmp_path, roots=(root_of(web),))
    async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
        cloud.objects |= {uid: dataset(web.url, uid=uid, credential="login") for uid in ("u1", "u2", "u3")}
        cloud.objects["open"] = dataset(web.url, uid="open")
        async with running_agent(sealed(broker, "agent"), config):
            await eventually(lambda: cloud.samples("open") == 1)
            await eventually(lambda: cloud.reason("u3") == "CredentialsUnavailable")


async def test_the_server_that_a_secret_names_has_to_be_below_a_root_as_well(s3: S3Server, tmp_path: Path) -> None:
    url = s3.put(str(uuid.uuid4()), b"1\n")
    keys = s3.credentials
    broker = BrokerCore()
    for roots, reason in (((), "OutsideRoots"), ((f"{s3.endpoint}/{BUCKET}",), "Counted")):
        config = settings(tmp_path, roots=(f"s3://{BUCKET}/", *roots))
        async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
            cloud.objects["u1"] = dataset(url, credential="keys")
            cloud.credentials["u1"] = {
                "accessKeyID": keys.access_key_id,
                "secretAccessKey": keys.secret_access_key,
                "region": keys.region,
                "endpoint": keys.endpoint,
            }
            async with running_agent(sealed(broker, "agent"), config):
                await eventually(lambda reason=reason, cloud=cloud: cloud.reason() == reason)  # type: ignore[misc]


async def test_what_the_node_has_to_sign_with_is_not_used_beside_the_datasets_keys(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = s3.put(str(uuid.uuid4()), b"1\n")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-node")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-the-node")
    broker = BrokerCore()
    config = settings(tmp_path, roots=(f"s3://{BUCKET}/",))
    async with running_cloud(memory(broker, "cloud"), Topics(config.topic_prefix)) as cloud:
        cloud.objects["u1"] = dataset(url, credential="keys")
        keys = s3.credentials
        cloud.credentials["u1"] = {"accessKeyID": keys.access_key_id, "secretAccessKey": keys.secret_access_key}
        async with running_agent(sealed(broker, "agent"), config):
            await eventually(lambda: cloud.reason() == "Counted")
