"""Probes and metrics of a running manager, asked over HTTP as kubelet and Prometheus would."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from neptune.api.meta import ResourceKey
from neptune.errors import SettingsError
from neptune.runtime import ApiUnreachable, Context, Manager, NotFound, Query, RequeueAfter, TerminalError
from tests.runtime.widgets import Widget, eventually, faulty_server, item, key, listing, status, streaming

Samples = dict[tuple[str, str], float]


async def ask(port: int | None, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as response:
        return response.status, await response.text()


async def scrape(port: int | None) -> Samples:
    """Return the value of each series, by its name and its result or priority."""
    _, text = await ask(port, "/metrics")
    return {
        (sample.name, sample.labels.get("result") or sample.labels.get("priority", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_it_is_alive_and_not_ready_until_the_caches_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.02)

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None: ...

    async with faulty_server(tmp_path, on_list=status(503, "Unavailable"), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig, listen="127.0.0.1:0")
        manager.controller(Widget, reconcile)
        starting = asyncio.create_task(manager.start())
        await eventually(lambda: server.count("list"))
        assert await ask(manager.probe_port, "/livez") == (200, "ok")
        assert await ask(manager.probe_port, "/readyz") == (
            503,
            "[-]caches failed: no list yet of widgets.example.com\n[+]workers ok\nreadyz check failed\n",
        )
        server.on_list = listing()
        await starting
        assert await ask(manager.probe_port, "/readyz") == (200, "[+]caches ok\n[+]workers ok\nreadyz check passed\n")
        await manager.stop()


async def test_a_check_that_raises_is_named_and_hides_no_other(tmp_path: Path) -> None:
    def broken() -> bool:
        raise ValueError("no")

    async with faulty_server(tmp_path, on_list=listing(), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig, listen="127.0.0.1:0")
        manager.ready["own"] = broken
        await manager.start()
        code, text = await ask(manager.probe_port, "/readyz")
        assert (code, text.splitlines()[1:]) == (
            503,
            ["[-]own failed: ValueError('no')", "[+]workers ok", "readyz check failed"],
        )
        await manager.stop()


async def test_a_worker_that_hangs_makes_it_not_ready(tmp_path: Path) -> None:
    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        for _ in range(3):  # will not be cancelled
            try:
                await release.wait()
                break
            except asyncio.CancelledError:
                continue

    release = asyncio.Event()
    async with faulty_server(tmp_path, on_list=listing(item("a")), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig, listen="127.0.0.1:0")
        manager.controller(Widget, reconcile, timeout_seconds=0.01)
        await manager.start()
        await asyncio.sleep(0.05)
        status, text = await ask(manager.probe_port, "/readyz")
        assert status == 503
        assert "[-]workers failed: widgets.example.com has been at ns/a for 0 s, its limit is 0.01 s\n" in text
        release.set()
        await manager.stop()


async def test_every_series_is_there_from_the_start_and_counts(tmp_path: Path) -> None:
    calls: dict[str, int] = {}

    async def reconcile(_ctx: Context, key: ResourceKey) -> RequeueAfter | None:
        calls[key.name] = calls.get(key.name, 0) + 1
        if key.name == "terminal":
            raise TerminalError("no")
        if key.name == "broken" and calls[key.name] == 1:
            raise OSError("no")
        if key.name == "wrong" and calls[key.name] == 1:
            raise KeyError("no")
        if key.name == "slow" and calls[key.name] == 1:
            await asyncio.Event().wait()
        return RequeueAfter(3600) if key.name == "later" else None

    async with faulty_server(tmp_path, on_list=listing(), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig, listen="127.0.0.1:0")
        manager.controller(Widget, reconcile, workers=8, timeout_seconds=0.05)
        await manager.start()
        before = await scrape(manager.probe_port)
        server.on_list = listing(*(item(name) for name in ("fine", "terminal", "broken", "wrong", "slow", "later")))
        await manager.stop()
        assert (
            before.items()
            >= {
                ("controller_runtime_reconcile_total", "success"): 0,
                ("controller_runtime_reconcile_total", "requeue"): 0,
                ("controller_runtime_reconcile_errors_total", ""): 0,
                ("controller_runtime_reconcile_panics_total", ""): 0,
                ("controller_runtime_max_concurrent_reconciles", ""): 8,
                ("workqueue_depth", "0"): 0,
            }.items()
        )

        manager = Manager(kubeconfig=server.kubeconfig, listen="127.0.0.1:0")
        manager.controller(Widget, reconcile, workers=8, timeout_seconds=0.05)
        await manager.start()
        await eventually(lambda: [calls.get(name) for name in ("slow", "broken", "wrong")] == [2, 2, 2])
        await asyncio.sleep(0)
        after = await scrape(manager.probe_port)
        await manager.stop()
    assert (
        after.items()
        >= {
            ("controller_runtime_reconcile_total", "success"): 4,
            ("controller_runtime_reconcile_total", "error"): 4,
            ("controller_runtime_reconcile_total", "requeue_after"): 1,
            ("controller_runtime_reconcile_errors_total", ""): 4,
            ("controller_runtime_terminal_reconcile_errors_total", ""): 1,
            ("controller_runtime_reconcile_timeouts_total", ""): 1,
            ("controller_runtime_reconcile_panics_total", ""): 1,
            ("controller_runtime_reconcile_time_seconds_count", ""): 9,
            ("controller_runtime_active_workers", ""): 0,
            ("workqueue_adds_total", ""): 7,
            ("workqueue_retries_total", ""): 4,
            ("workqueue_depth", "-100"): 1,  # `later` keeps the priority of the initial list
            ("workqueue_work_duration_seconds_count", ""): 9,
        }.items()
    )


async def test_a_watch_that_is_silent_or_cut_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neptune.runtime.client.WATCH_IDLE_SECONDS", 0.05)

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        assert request.transport
        request.transport.abort()
        return response

    async with faulty_server(tmp_path, on_list=listing(), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig)
        for _ in range(2):
            with pytest.raises(ApiUnreachable):
                async with manager.client.watch(Query(Widget), "1") as events:
                    [_ async for _ in events]
            server.on_watch = cut
        await manager.client.close()
    count = manager.metrics.registry.get_sample_value
    assert [count("neptune_watches_broken_total", {"cause": cause}) for cause in ("silent", "cut")] == [1, 1]


async def test_requests_are_counted_as_client_go_counts_them(tmp_path: Path) -> None:
    answers = [status(429, "TooManyRequests", **{"Retry-After": "0"}), status(404, "NotFound")]

    async def on_list(request: web.Request) -> web.StreamResponse:
        return await (answers.pop(0) if answers else listing(item("a")))(request)

    async with faulty_server(tmp_path, on_list=on_list, on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig)
        with pytest.raises(NotFound):
            await manager.client.get(Widget, key("a"))
        url = json.loads(server.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
        async with manager.client.watch(Query(Widget), "1"):
            pass
        await manager.client.close()
    with pytest.raises(ApiUnreachable):
        await manager.client.get(Widget, key("a"))
    await manager.client.close()
    found = {
        (sample.name, *(value for name, value in sorted(sample.labels.items()) if name != "host")): sample.value
        for family in manager.metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("rest_client_") and sample.labels["host"] == urlsplit(url).netloc
    }
    assert (
        found.items()
        >= {
            ("rest_client_requests_total", "429", "GET"): 1,
            ("rest_client_requests_total", "404", "GET"): 1,
            ("rest_client_requests_total", "200", "GET"): 1,
            ("rest_client_requests_total", "<error>", "GET"): 1,
            ("rest_client_request_retries_total", "404", "GET"): 1,
            ("rest_client_request_duration_seconds_count", "GET"): 2,
            ("rest_client_request_duration_seconds_bucket", "60.0", "GET"): 2,
        }.items()
    )


@pytest.mark.parametrize("address", ["8080", "localhost", "a b:1", "127.0.0.1:http", ":80"])
def test_an_address_that_makes_no_sense_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match="HOST:PORT"):
        Manager(listen=address)


async def test_a_port_that_is_taken_ends_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with faulty_server(tmp_path, on_list=listing(), on_watch=streaming()) as server:
            manager = Manager(kubeconfig=server.kubeconfig, listen=f"127.0.0.1:{taken.getsockname()[1]}")
            with pytest.raises(SettingsError, match="choose another address"):
                await manager.start()
