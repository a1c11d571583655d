"""The embedded API server without a socket, on a clock that only moves by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from neptune.embedded.apiserver import ApiServer, Request, Response, Watch
from tests.support.contract_crd import CRD, GROUP

START = datetime(2026, 1, 1, tzinfo=UTC)
DATASETS = f"/apis/{GROUP}/v1alpha1/namespaces/default/datasets"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class PureServer:
    """An `ApiServer` that serves the contract's CRD, with its own time."""

    def __init__(self, *, seed: int = 1, history_limit: int = 100) -> None:
        self.now = START
        self.core = ApiServer(self.now, random=Random(seed), history_limit=history_limit)  # noqa: S311 (repeatable)
        self.call("POST", CRDS, CRD)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def ask(self, method: str, path: str, body: Any = None, /, **query: str) -> Response:
        """Send a request that is no watch; patches are merge patches."""
        media = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = b"" if body is None else json.dumps(body).encode()
        answer = self.core.handle(Request(method, path, query, content_type=media, body=data), self.now)
        assert isinstance(answer, Response)
        return answer

    def call(self, method: str, path: str, body: Any = None, /, **query: str) -> Any:
        """Send a request that succeeds, and return the object."""
        answer = self.ask(method, path, body, **query)
        assert answer.code in (200, 201), answer
        return answer.body

    def watch(self, path: str, /, accept: str = "application/json", **query: str) -> Watch:
        """Open a watch."""
        answer = self.core.handle(Request("GET", path, {"watch": "1", **query}, accept=accept), self.now)
        assert isinstance(answer, Watch)
        return answer

    def events(self, watch: Watch) -> list[tuple[str, Any]]:
        """Take what a watch has."""
        return [(event["type"], event["object"]) for event in watch.take(self.now)]
