"""An agent with datasets at urls: counted by its processes, asked now and then, never loaded by itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from neptune.protocol.topics import Topics
from neptune.transport.broker import BrokerCore
from tests.edge.bench import dataset, eventually, memory, running_agent, running_cloud, settings
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
