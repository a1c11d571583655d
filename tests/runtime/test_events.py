"""Which events are written and when, in virtual time; and what a real API server then has."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from aiohttp import web

from neptune.api import Dataset
from neptune.api.core import Event
from neptune.api.meta import ResourceKey
from neptune.clock import SystemClock
from neptune.runtime import Client, Context, Manager, Query
from neptune.runtime.events import (
    MAX_SERIES,
    MAX_SERIES_OF_OBJECT,
    MAX_TRIES,
    EventLog,
    EventRecorder,
    Events,
    Occurrence,
)
from neptune.runtime.metrics import Metrics
from tests.runtime.kinds import dataset
from tests.runtime.widgets import Widget, eventually, faulty_server, item, listing, new_widget, status, streaming

WALL = datetime(2026, 1, 1, tzinfo=UTC)
WHAT = Occurrence("Normal", "Counted", "done", "Reconcile", "widgets", "v1", "Widget", "ns", "a", "u1")


def write(log: EventLog, now: float) -> int:
    """Write what is due, and return its count."""
    series, _ = log.next(now)
    assert series
    log.wrote(series, series.count, Event(), now)
    return series.count


def test_the_first_repeat_is_written_at_once_and_further_ones_together_after_a_minute() -> None:
    log = EventLog()
    log.record(WHAT, 0, WALL)
    assert write(log, 0) == 1
    log.record(WHAT, 1, WALL)
    assert write(log, 1) == 2
    for now in range(2, 50):
        log.record(WHAT, now, WALL)
    assert log.next(50) == (None, 11.0)
    assert write(log, 61) == 50
    assert log.next(61) == (None, None)


def test_a_series_ends_after_six_quiet_minutes() -> None:
    log = EventLog()
    log.record(WHAT, 0, WALL)
    write(log, 0)
    log.record(replace(WHAT, name="b"), 361, WALL)
    assert len(log) == 1


def test_memory_is_bounded_in_all_and_for_one_object_whose_messages_vary() -> None:
    log = EventLog()
    taken = [log.record(replace(WHAT, note=f"{number} left"), 0, WALL) for number in range(30)]
    assert taken.count(True) == MAX_SERIES_OF_OBJECT
    taken = [log.record(replace(WHAT, name=str(number)), 0, WALL) for number in range(MAX_SERIES)]
    assert taken.count(True) == MAX_SERIES - MAX_SERIES_OF_OBJECT
    assert log.record(WHAT, 0, WALL) is False
    assert log.record(replace(WHAT, name="1"), 0, WALL) is True


def test_a_server_that_is_away_is_asked_every_ten_seconds_until_the_series_is_given_up() -> None:
    log = EventLog()
    log.record(WHAT, 0, WALL)
    series, _ = log.next(0)
    assert series
    for number in range(MAX_TRIES - 1):
        assert log.failed(series, number * 10)
        assert log.next(number * 10) == (None, 10.0)
    assert not log.failed(series, 1000)
    assert len(log) == 0


async def test_events_reach_the_server_with_a_count_from_loop_and_thread(
    with_datasets: Path, client: Client, namespace: str
) -> None:
    calls: list[int] = []

    async def counts(ctx: Context, key: ResourceKey) -> None:
        found = ctx.cache.get(Dataset, key)
        assert found
        for _ in range(5):
            ctx.events.normal(found, "Counted", "counted all samples")
        calls.append(1)

    def warns(ctx: Context, key: ResourceKey) -> None:
        found = ctx.cache.get(Dataset, key)
        assert found
        ctx.events.warning(found, "Slow", "é" * 2000, action="Count")
        calls.append(1)

    made = await client.create(dataset(namespace, "a"))
    manager = Manager(kubeconfig=with_datasets)
    manager.controller(Query(Dataset, namespace), counts, name="a controller / of mine")
    manager.controller(Query(Dataset, namespace), warns, name="warns")
    await manager.start()
    await eventually(lambda: len(calls) == 2)
    await manager.stop()
    events = {event.reason: event for event in (await client.list(Event, namespace)).items}
    assert events.keys() == {"Counted", "Slow"}
    counted, slow = events["Counted"], events["Slow"]
    assert counted.series
    assert counted.series.count == 5
    assert (counted.type, counted.regarding.uid, counted.regarding.kind) == ("Normal", made.metadata.uid, "Dataset")
    assert counted.reporting_controller == "a-controller-of-mine"
    assert (slow.type, slow.action, slow.note, slow.series) == ("Warning", "Count", "é" * 512, None)


async def test_an_exception_may_be_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[Occurrence] = []
    recorder = EventRecorder(Client(), SystemClock(), Metrics(), asyncio.get_running_loop())
    monkeypatch.setattr(recorder, "record", recorded.append)
    Events(recorder, "test").warning(new_widget("a"), "Failed", LookupError("no such place"))
    Events(recorder, "test").warning(new_widget("a"), "Failed", LookupError())
    assert [each.note for each in recorded] == ["no such place", "LookupError()"]


async def test_a_server_that_refuses_events_costs_a_count_and_one_line_and_no_reconcile(tmp_path: Path) -> None:
    calls: list[str] = []

    async def reconcile(ctx: Context, key: ResourceKey) -> None:
        found = ctx.cache.get(Widget, key)
        assert found
        ctx.events.normal(found, "Seen", "seen")
        calls.append(key.name)

    async with faulty_server(tmp_path, on_list=listing(item("a"), item("b")), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig)
        manager.controller(Widget, reconcile)
        with structlog.testing.capture_logs() as logs:
            await manager.start()
            server.on_list = status(403, "Forbidden", "may not create events")
            await eventually(lambda: manager.metrics.registry.get_sample_value("neptune_events_dropped_total") == 2)
            await asyncio.wait_for(manager.stop(), 5)
    assert sorted(calls) == ["a", "b"]
    refused = [entry for entry in logs if entry["event"] == "event refused"]
    assert len(refused) == 1
    assert "grant create and patch on events.events.k8s.io" in refused[0]["problem"]


async def test_events_go_on_after_credentials_that_could_not_be_read_and_an_answer_that_is_no_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.events.RETRY_SECONDS", 0.05)
    monkeypatch.setattr("neptune.runtime.http.RELOAD_SECONDS", 0.0)
    posted: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        posted.append(good if not posted else "")
        if len(posted) == 1:
            server.kubeconfig.write_text("{")  # half written, when the client loads it anew
            return await status(401, "Unauthorized")(request)
        server.kubeconfig.write_text(good)
        if len(posted) == 2:
            return web.Response(text='{"metadata": 5}')
        return web.json_response(await request.json())

    async with faulty_server(tmp_path, on_list=listing(), on_watch=streaming()) as server:
        good = server.kubeconfig.read_text()
        client = Client(server.kubeconfig)
        await client.list(Widget)
        server.on_list = answer
        recorder = EventRecorder(client, SystemClock(), Metrics(), asyncio.get_running_loop())
        running = asyncio.create_task(recorder.run())
        events = Events(recorder, "test")
        for number, name in enumerate("abc", 1):
            events.normal(new_widget(name), "Seen", "seen")
            await eventually(lambda: len(posted) > number)  # noqa: B023  # awaited in the turn
            server.kubeconfig.write_text(good)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        await client.close()
