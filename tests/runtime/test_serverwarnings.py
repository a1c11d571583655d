from __future__ import annotations

import structlog

from neptune.api import Dataset, DatasetSpec, ObjectMeta
from neptune.runtime import Client
from neptune.runtime.serverwarnings import MAX_TEXTS, WarningLog, texts


def test_texts_are_those_of_warnings_about_the_request() -> None:
    headers = [
        '299 - "unknown field \\"spec.colour\\"", 299 kube "a, b" "Sat, 25 Aug 2012 23:34:45 GMT"',
        '110 cache "stale"',
        '299 - ""',
        "nonsense",
    ]
    assert [*texts(headers)] == ['unknown field "spec.colour"', "a, b"]


def test_each_text_is_said_once_and_memory_is_bounded() -> None:
    log = WarningLog()
    with structlog.testing.capture_logs() as logs:
        for number in range(MAX_TEXTS + 1):
            log.saw([f'299 - "{number}"'], "GET /")
        for number in (1, MAX_TEXTS, 0):  # only the oldest one is forgotten
            log.saw([f'299 - "{number}"'], "GET /")
    assert [entry["warning"] for entry in logs[MAX_TEXTS:]] == [str(MAX_TEXTS), "0"]


async def test_a_field_that_the_server_dropped_is_said_once(client: Client, namespace: str) -> None:
    with structlog.testing.capture_logs() as logs:
        for name in "ab":
            spec = DatasetSpec.model_validate({"url": "/a", "format": "txt", "colour": "red"})
            await client.create(Dataset(metadata=ObjectMeta(namespace=namespace, name=name), spec=spec))
    assert logs == [
        {
            "event": "API server warns",
            "log_level": "warning",
            "warning": 'unknown field "spec.colour"',
            "request": f"POST /apis/neptune.io/v1alpha1/namespaces/{namespace}/datasets",
        }
    ]
