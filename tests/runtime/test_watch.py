from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web

from neptune.clock import SystemClock
from neptune.runtime import ApiUnreachable, Client, Forbidden, Gone, NotFound, Query, TooManyRequests
from neptune.runtime.informer import Informer
from neptune.runtime.watch import Backoff, ListWatch, WatchCore
from tests.runtime.widgets import (
    CLOSING,
    FaultyServer,
    Widget,
    eventually,
    faulty_server,
    item,
    key,
    listing,
    status,
    streaming,
)

RNG = random.Random(1)  # noqa: S311  # repeatable


def event(kind: str, name: str, version: int) -> dict[str, Any]:
    return {"type": kind, "object": item(name, version)}


GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}}


@asynccontextmanager
async def informer_of(server: FaultyServer) -> AsyncIterator[Informer[Widget]]:
    client = Client(server.kubeconfig)
    query = Query(Widget)
    informer = Informer(query)
    task = asyncio.create_task(ListWatch(client, query, informer.apply, SystemClock()).run())
    try:
        yield informer
    finally:
        task.cancel()
        await asyncio.wait([task])
        await client.close()


def in_turn(*each: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    left = list(each)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if len(left) > 1 else left[0])(request)

    return answer


def test_the_delay_doubles_to_30_s_and_starts_again_after_two_quiet_minutes() -> None:
    for seed in range(200):
        backoff = Backoff(random.Random(seed))  # noqa: S311  # repeatable
        now, delays = 0.0, []
        for _ in range(10):
            delays.append(backoff.next(now))
            now += delays[-1]
        assert 0.8 < delays[0] <= 1.6
        assert delays[0] + delays[1] >= 3.0  # one retry, no more, in the first three seconds
        assert max(delays) <= 30.0
        assert min(delays[-3:]) >= 25.0
        assert backoff.next(now + 121) <= 1.6


def test_a_server_that_is_back_and_knows_our_version_no_more_is_asked_soon_but_only_once() -> None:
    core, now = WatchCore(Backoff(RNG)), 0.0
    away, expired = ApiUnreachable("no"), Gone(410, "Expired", "too old")

    def failed(error: Exception, times: int = 1) -> float:
        nonlocal now
        for _ in range(times):
            delay, _ = core.failed(error, now)
            now += delay
        return delay

    core.listed("5")
    assert failed(away, 6) >= 25
    assert failed(expired) <= 1.6
    core.listed("9")
    assert failed(away, 6) >= 25
    assert failed(expired) >= 25
    core.listed("10")
    core.saw("11")
    assert failed(away, 6) >= 25
    assert failed(expired) <= 1.6


def test_only_an_expired_version_or_a_missing_kind_makes_it_list_again() -> None:
    core = WatchCore(Backoff(RNG))
    core.listed("5")
    for error in (ApiUnreachable("no"), Forbidden(403, "Forbidden", "no")):
        core.failed(error, now=0)
        assert core.version == "5"
    for other in (Gone(410, "Expired", "no"), NotFound(404, "NotFound", "no")):
        core.listed("5")
        core.failed(other, now=0)
        assert core.version == ""


def test_a_cause_is_new_once_until_it_changes_or_heals() -> None:
    core = WatchCore(Backoff(RNG))
    core.listed("5")
    away, forbidden = ApiUnreachable("port 1"), Forbidden(403, "Forbidden", "no")
    assert [core.failed(error, now=0)[1] for error in (away, ApiUnreachable("port 2"), forbidden, away)] == [
        True,
        False,
        True,
        True,
    ]
    assert core.saw("6")
    assert not core.saw("7")
    assert core.failed(away, now=0)[1]


def test_a_good_list_does_not_heal_a_watch_that_always_fails() -> None:
    core = WatchCore(Backoff(RNG))
    expired = Gone(410, "Expired", "no")
    core.listed("5")
    assert core.failed(expired, now=0)[1]
    assert not core.listed("6")
    assert not core.failed(expired, now=0)[1]
    away = ApiUnreachable("no")
    core.version = ""
    assert core.failed(away, now=0)[1]
    assert core.listed("7")


def test_the_server_may_ask_for_a_longer_delay_up_to_30_s() -> None:
    core = WatchCore(Backoff(RNG))
    assert core.failed(TooManyRequests(429, "TooManyRequests", "no", retry_after=20), now=0)[0] == 20
    assert core.failed(TooManyRequests(429, "TooManyRequests", "no", retry_after=999), now=0)[0] == 30


async def test_it_lists_then_follows_every_change(tmp_path: Path) -> None:
    changes = streaming(event("ADDED", "b", 11), event("MODIFIED", "a", 12), event("DELETED", "b", 13))
    async with (
        faulty_server(tmp_path, on_list=listing(item("a")), on_watch=changes) as server,
        informer_of(server) as informer,
    ):
        await eventually(lambda: (found := informer.get(key("a"))) and found.version == "12")
        await eventually(lambda: informer.get(key("b")) is None)
        assert [verb for verb, _ in server.requests] == ["stream", "list", "watch"]


async def test_an_expired_version_is_listed_again_and_what_vanished_meanwhile_is_told(tmp_path: Path) -> None:
    lists = in_turn(listing(item("a"), item("b")), listing(item("b"), version=20))
    gone: list[str] = []
    async with (
        faulty_server(tmp_path, on_list=lists, on_watch=in_turn(streaming(GONE), streaming())) as server,
        informer_of(server) as informer,
    ):
        informer.subscribe(lambda change: gone.append(change.key.name) if change.new is None else None)
        await eventually(lambda: gone)
        assert gone == ["a"]
        assert server.count("list") == 2


def bookmark(version: int, **annotations: str) -> dict[str, Any]:
    return {
        "type": "BOOKMARK",
        "object": {"metadata": {"resourceVersion": str(version), "annotations": annotations}},
    }


END = bookmark(20, **{"k8s.io/initial-events-end": "true"})


async def test_a_list_is_streamed_where_the_server_can_and_the_watch_goes_on_in_the_same_request(
    tmp_path: Path,
) -> None:
    events = [event("ADDED", name, version) for version, name in enumerate("abc", 5)]
    stream = streaming(*events, bookmark(15), event("DELETED", "b", 16), END, event("ADDED", "d", 21))
    seen: list[tuple[str, bool]] = []
    async with (
        faulty_server(tmp_path, on_list=listing(), on_watch=streaming(), on_stream=stream) as server,
        informer_of(server) as informer,
    ):
        informer.subscribe(lambda change: seen.append((change.key.name, change.initial)))
        await eventually(lambda: informer.get(key("d")))
        assert seen == [("a", True), ("c", True), ("d", False)]
        assert (informer.version, [verb for verb, _ in server.requests]) == ("21", ["stream"])


@pytest.mark.parametrize(
    ("stream", "then"),
    [
        (streaming(event("ADDED", "a", 5), hold=False), "stream"),
        (streaming(event("ADDED", "a", 5)), "stream"),
        (status(403, "Forbidden"), "stream"),
        (status(500, "InternalError"), "stream"),
        (status(400, "BadRequest"), "list"),
    ],
    ids=["cut", "silent", "403", "500", "400"],
)
async def test_a_paged_list_takes_the_place_of_a_streaming_one_that_failed_and_of_all_where_the_server_knows_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: Any, then: str
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_IDLE_SECONDS", 0.05)
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.01)
    streams = in_turn(stream, streaming(END))
    watches = in_turn(streaming(GONE), streaming())
    async with (
        faulty_server(tmp_path, on_list=listing(item("a")), on_watch=watches, on_stream=streams) as server,
        informer_of(server) as informer,
    ):
        await eventually(lambda: server.count("watch") == 1)
        assert informer.get(key("a"))
        await eventually(lambda: len(server.requests) >= 4)
        assert [verb for verb, _ in server.requests][:4] == ["stream", "list", "watch", then]


async def test_a_watch_that_fails_after_a_whole_streaming_list_does_not_end_streaming(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.01)
    failed = {"type": "ERROR", "object": {"code": 500, "reason": "InternalError", "message": "no"}}
    streams = in_turn(streaming(END, failed), streaming(END))
    watches = streaming(GONE)
    async with (
        faulty_server(tmp_path, on_list=listing(), on_watch=watches, on_stream=streams) as server,
        informer_of(server),
    ):
        await eventually(lambda: server.count("stream") == 2)
        assert [verb for verb, _ in server.requests] == ["stream", "version", "watch", "stream"]


async def test_versions_that_went_back_are_a_restored_backup_and_make_it_list_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.01)
    lists = in_turn(listing(item("a"), item("b"), version=10), listing(item("a"), version=7))
    watches = in_turn(streaming(bookmark(7)), streaming())
    with structlog.testing.capture_logs() as logs:
        async with (
            faulty_server(tmp_path, on_list=lists, on_watch=watches) as server,
            informer_of(server) as informer,
        ):
            await eventually(lambda: server.count("watch") == 2)
            assert (informer.version, informer.get(key("b"))) == ("7", None)
    assert "went back from 10 to 7" in logs[0]["problem"]


async def test_after_a_cut_versions_that_went_back_are_found_before_a_watch_that_would_stay_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.01)
    lists = in_turn(listing(item("a"), version=10), listing(version=7))
    watches = in_turn(streaming(hold=False), streaming())
    async with faulty_server(tmp_path, on_list=lists, on_watch=watches) as server, informer_of(server) as informer:
        server.version = 7
        await eventually(lambda: server.count("watch") == 2)
        assert (informer.version, informer.get(key("a"))) == ("7", None)
        assert [verb for verb, _ in server.requests] == ["stream", "list", "watch", "version", "list", "watch"]


async def test_after_a_refused_watch_versions_that_went_back_are_found_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.01)

    async def refused(_request: web.Request) -> web.StreamResponse:
        server.version = 7  # a backup is restored while nobody watches
        return web.json_response({"code": 504, "reason": "Timeout", "message": "no"}, status=504)

    lists, watches = in_turn(listing(item("a"), version=10), listing(version=7)), in_turn(refused, streaming())
    async with faulty_server(tmp_path, on_list=lists, on_watch=watches) as server, informer_of(server) as informer:
        await eventually(lambda: server.count("watch") == 2)
        assert (informer.version, informer.get(key("a"))) == ("7", None)
        assert [verb for verb, _ in server.requests] == ["stream", "list", "watch", "version", "list", "watch"]


async def test_after_a_cut_it_watches_from_the_last_version_seen_without_listing(tmp_path: Path) -> None:
    versions: list[str] = []

    async def watch(request: web.Request) -> web.StreamResponse:
        versions.append(request.query["resourceVersion"])
        return await streaming(bookmark(15), hold=len(versions) > 1)(request)

    async with faulty_server(tmp_path, on_list=listing(), on_watch=watch) as server, informer_of(server):
        await eventually(lambda: len(versions) == 2)
        assert versions == ["10", "15"]
        assert server.count("list") == 1


async def test_a_failing_watch_is_no_storm(tmp_path: Path) -> None:
    async def requests_in_three_seconds(name: str, watch: Any, *, whole: Any = None, watches: int = 2) -> None:
        """`whole` answers all requests in the place of a good list and a refused stream."""
        folder = tmp_path / name
        folder.mkdir()
        async with (
            faulty_server(folder, on_list=whole or listing(), on_watch=watch, on_stream=whole) as server,
            informer_of(server),
        ):
            await eventually(lambda: server.count("stream" if whole else "watch"))
            before = len(server.requests)
            await asyncio.sleep(2.9)
            assert len(server.requests) - before <= 2, name
            assert server.count("watch") == watches, name

    forbidden, failed = status(403, "Forbidden"), status(500, "InternalError")
    async with asyncio.TaskGroup() as group:  # side by side, since each takes its time
        group.create_task(requests_in_three_seconds("403", forbidden))
        group.create_task(requests_in_three_seconds("500", failed))
        group.create_task(requests_in_three_seconds("empty", streaming(hold=False)))
        group.create_task(requests_in_three_seconds("410", streaming(GONE, hold=False)))
        group.create_task(requests_in_three_seconds("silence", streaming(), watches=1))
        group.create_task(requests_in_three_seconds("all-403", forbidden, whole=forbidden, watches=0))
        group.create_task(requests_in_three_seconds("all-500", failed, whole=failed, watches=0))


async def cut(request: web.Request) -> web.StreamResponse:
    """Reset the connection in the place of an answer."""
    assert request.transport
    request.transport.abort()
    return web.Response()


async def test_where_lists_work_and_watches_never_do_two_requests_are_sent_in_three_seconds(tmp_path: Path) -> None:
    async def requests_in_three_seconds(name: str, watch: Any) -> None:
        folder = tmp_path / name
        folder.mkdir()
        lists = listing(item("a"))
        async with (
            faulty_server(folder, on_list=lists, on_watch=watch, on_stream=watch) as server,
            informer_of(server) as informer,
        ):
            await eventually(lambda: server.count("stream"))
            await asyncio.sleep(2.9)
            assert len(server.requests) <= 2, (name, server.requests)
            assert name in {"410", "cut"} or informer.get(key("a")), name

    async with asyncio.TaskGroup() as group:  # side by side, since each takes its time
        group.create_task(requests_in_three_seconds("403", status(403, "Forbidden")))
        group.create_task(requests_in_three_seconds("500", status(500, "InternalError")))
        group.create_task(requests_in_three_seconds("empty", streaming(hold=False)))
        group.create_task(requests_in_three_seconds("410", status(410, "Expired")))
        group.create_task(requests_in_three_seconds("cut", cut))


async def test_a_silent_watch_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neptune.runtime.client.WATCH_IDLE_SECONDS", 0.05)
    with structlog.testing.capture_logs() as logs:
        async with faulty_server(tmp_path, on_list=listing(), on_watch=streaming()) as server, informer_of(server):
            await eventually(lambda: server.count("watch") == 2)
    assert "not even a bookmark" in logs[0]["problem"]


async def test_a_kind_that_is_not_installed_is_said_once_and_found_when_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.01)
    missing = status(404, "NotFound")
    lists = in_turn(missing, missing, missing, listing(item("a")))
    with structlog.testing.capture_logs() as logs:
        async with (
            faulty_server(tmp_path, on_list=lists, on_watch=streaming()) as server,
            informer_of(server) as informer,
        ):
            await eventually(informer.synced.is_set)
    assert [entry["event"] for entry in logs] == ["cannot watch, trying again", "watching again"]
    assert "the API server does not know widgets.example.com: apply" in logs[0]["problem"]


async def test_a_user_without_the_right_is_told_which_one(tmp_path: Path) -> None:
    denied = status(403, "Forbidden", 'User "a" cannot list resource "widgets"')
    with structlog.testing.capture_logs() as logs:
        async with faulty_server(tmp_path, on_list=denied, on_watch=streaming()) as server, informer_of(server):
            await eventually(lambda: logs)
    assert 'User "a" cannot list' in logs[0]["problem"]
    assert "grant get, list and watch on widgets.example.com" in logs[0]["problem"]


async def test_a_user_whose_credentials_did_not_come_is_told_where_to_look(tmp_path: Path) -> None:
    denied = status(403, "Forbidden", 'User "system:anonymous" cannot list resource "widgets"')
    with structlog.testing.capture_logs() as logs:
        async with faulty_server(tmp_path, on_list=denied, on_watch=streaming()) as server, informer_of(server):
            await eventually(lambda: logs)
    assert "look at the user in the kubeconfig" in logs[0]["problem"]
    assert "grant" not in logs[0]["problem"]


async def test_a_watch_that_is_refused_for_an_old_token_goes_on_with_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.http.RELOAD_SECONDS", 0.0)
    token = tmp_path / "token"
    token.write_text("old")

    async def watch(request: web.Request) -> web.StreamResponse:
        token.write_text("new")
        if request.headers["Authorization"] == "Bearer old":
            return await status(401, "Unauthorized")(request)
        return await streaming(event("ADDED", "a", 11))(request)

    async with (
        faulty_server(tmp_path, on_list=listing(), on_watch=watch, tokenFile=str(token)) as server,
        informer_of(server) as informer,
    ):
        await eventually(lambda: informer.get(key("a")))
        assert [verb for verb, _ in server.requests] == ["stream", "list", "watch", "watch"]


async def test_an_answer_that_is_not_kubernetes_is_said_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.01)

    async def portal(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>please log in</html>")

    with structlog.testing.capture_logs() as logs:
        async with (
            faulty_server(
                tmp_path, on_list=in_turn(portal, listing()), on_watch=in_turn(portal, streaming())
            ) as server,
            informer_of(server) as informer,
        ):
            await eventually(lambda: server.count("watch") == 2)
            assert informer.synced.is_set()
    problems = [entry["problem"] for entry in logs if entry["event"] == "cannot watch, trying again"]
    assert len(problems) == 2
    assert all("is a proxy on the way?" in each for each in problems)


@pytest.mark.parametrize("answer", ["[]", "null", '"x"', "5", '{"metadata":null}', '{"metadata":{},"items":["a"]}'])
async def test_a_list_that_is_json_and_none_of_kubernetes_is_said_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.01)

    async def portal(_request: web.Request) -> web.StreamResponse:
        return web.Response(text=answer)

    async with (
        faulty_server(tmp_path, on_list=in_turn(portal, listing(item("a"))), on_watch=streaming()) as server,
        informer_of(server) as informer,
    ):
        await eventually(lambda: informer.get(key("a")))


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": "ERROR", "object": "x"},
        {"type": "ERROR", "object": {"code": "x", "details": 5}},
        {"type": "ADDED", "object": {"metadata": {"name": "b", "resourceVersion": 11}}},
        {"type": "BOOKMARK", "object": []},
    ],
)
async def test_an_event_that_is_json_and_none_of_kubernetes_is_said_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.01)
    good = streaming(event("ADDED", "b", 12))
    async with (
        faulty_server(tmp_path, on_list=listing(item("a")), on_watch=in_turn(streaming(wrong), good)) as server,
        informer_of(server) as informer,
    ):
        await eventually(lambda: informer.get(key("b")))


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize("depth", [300, 600, 950, 980, 9000])
async def test_an_object_that_is_nested_too_deep_spoils_only_itself(tmp_path: Path, depth: int) -> None:
    def deep(name: str, version: int) -> str:
        return json.dumps(item(name, version)).replace('"spec": {}', f'"spec": {nested(depth)}')

    async def on_list(_request: web.Request) -> web.StreamResponse:
        items = [json.dumps(item("a")), deep("deep", 2)]
        return web.Response(text=f'{{"metadata":{{"resourceVersion":"10"}},"items":[{",".join(items)}]}}')

    async def on_watch(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for text in (deep("deeper", 11), json.dumps(item("b", 12))):
            await response.write(f'{{"type":"ADDED","object":{text}}}\n'.encode())
        await request.app[CLOSING].wait()
        return response

    async with faulty_server(tmp_path, on_list=on_list, on_watch=on_watch) as server, informer_of(server) as informer:
        informer.index("size", lambda widget: [str(widget.spec.size)])
        await eventually(lambda: informer.get(key("b")))
        assert server.requests[-1][0] == "watch"
        assert server.count("watch") == 1
        found = {each.key.name for each in informer.snapshots() if informer.decode_or_none(each)}
        assert {"a", "b"} <= found
        if depth > 1000:
            assert found == {"a", "b"}
            assert informer.undecodable == {key("deep"), key("deeper")}
