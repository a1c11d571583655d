"""The core of the election in virtual time; managers and whole programs that compete on a real API server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web

from neptune.api.core import ConfigMap, Lease
from neptune.api.meta import ResourceKey
from neptune.clock import SystemClock
from neptune.errors import SettingsError
from neptune.runtime import Client, Conflict, Context, LeaderElection, LeadershipLost, Manager, NotFound, Query
from neptune.runtime.leader import Candidate, LeaderElector
from neptune.runtime.metrics import Metrics
from tests.runtime.kinds import config_map
from tests.runtime.replica import LEASE_SECONDS, PAUSE_SECONDS
from tests.runtime.widgets import eventually, faulty_server, status, streaming

ROOT = Path(__file__).parents[2]
WALL = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = LeaderElection("test", "ns")


def candidate(name: str) -> Candidate:
    return Candidate(name, SETTINGS, SETTINGS.key)


def leading(name: str, *, sent_at: float = 0.0) -> tuple[Candidate, Lease]:
    core = candidate(name)
    core.saw(None, sent_at)
    lease = core.claim(WALL)
    core.claimed(lease, sent_at)
    return core, lease


def test_a_lease_that_is_absent_may_be_claimed_and_holds_for_less_than_others_wait() -> None:
    core, lease = leading("a", sent_at=100.0)
    assert lease.spec.holder_identity == "a"
    assert lease.spec.lease_duration_seconds == 15
    assert core.leads_until == 110.0


def test_a_standby_counts_from_the_last_change_that_it_saw_whatever_the_wall_clocks_say() -> None:
    leader, lease = leading("a")
    standby = candidate("b")
    standby.saw(lease, 1000.0)
    standby.saw(lease, 1014.0)
    assert not standby.may_claim(1015.0)
    renewed = leader.claim(datetime(1999, 1, 1, tzinfo=UTC))  # the leader's clock was set back
    standby.saw(renewed, 1015.0)
    assert not standby.may_claim(1030.0)
    assert standby.may_claim(1030.1)


def test_an_annotation_on_the_lease_is_no_sign_of_life() -> None:
    _, lease = leading("a")
    standby = candidate("b")
    standby.saw(lease, 0.0)
    touched = lease.model_copy(deep=True)
    touched.metadata.annotations["x"] = "y"
    standby.saw(touched, 14.0)
    assert standby.may_claim(15.1)


def test_a_lease_that_was_given_back_may_be_claimed_at_once_and_counts_a_transition() -> None:
    leader, _ = leading("a")
    standby = candidate("b")
    standby.saw(leader.given_back(WALL), 5.0)
    assert standby.holder == ""
    assert standby.may_claim(5.0)
    assert standby.claim(WALL).spec.lease_transitions == 1


def test_a_renewal_keeps_when_the_lease_was_acquired_and_what_a_newer_server_put_there() -> None:
    core, lease = leading("a")
    stored = Lease.from_dict({**lease.to_dict(), "spec": {**lease.spec.to_dict(), "strategy": "Oldest"}})
    core.saw(stored, 1.0)
    renewed = core.claim(datetime(2026, 1, 2, tzinfo=UTC)).spec.to_dict()
    assert renewed["strategy"] == "Oldest"
    assert (renewed["acquireTime"], renewed["renewTime"]) == (
        "2026-01-01T00:00:00.000000Z",
        "2026-01-02T00:00:00.000000Z",
    )
    assert renewed.get("leaseTransitions", 0) == 0


async def test_times_that_do_not_fit_together_or_a_missing_namespace_are_refused() -> None:
    with pytest.raises(SettingsError, match="more than renew_seconds"):
        LeaderElection("test", "ns", lease_seconds=10)
    with pytest.raises(SettingsError, match=r"1\.2 times retry_seconds"):
        LeaderElection("test", "ns", retry_seconds=9)
    with pytest.raises(SettingsError, match="needs a namespace"):
        await Manager(leader_election=LeaderElection("test")).serve()


@asynccontextmanager
async def replicas(
    kubeconfig: Path, namespace: str, *names: str
) -> AsyncIterator[dict[str, asyncio.subprocess.Process]]:
    programs = {
        name: await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.runtime.replica", namespace, name),
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            cwd=ROOT,
            stderr=PIPE,
        )
        for name in names
    }
    try:
        yield programs
    finally:
        for program in programs.values():
            with suppress(ProcessLookupError):
                program.kill()
            await program.communicate()


async def written(client: Client, namespace: str) -> ConfigMap:
    async with asyncio.timeout(15):
        while True:
            with suppress(NotFound):
                return await client.get(ConfigMap, ResourceKey(namespace, "who"))
            await asyncio.sleep(0.02)


async def another_than(name: str, client: Client, namespace: str) -> ConfigMap:
    async with asyncio.timeout(15):
        while (found := await written(client, namespace)).data["leader"] == name:  # noqa: ASYNC110  # as in eventually
            await asyncio.sleep(0.02)
    return found


async def test_a_standby_takes_over_when_the_lease_of_a_leader_that_was_killed_lapses(
    kubeconfig: Path, client: Client, namespace: str
) -> None:
    await client.create(config_map(namespace, "work"))
    async with replicas(kubeconfig, namespace, "a", "b") as programs:
        leader = (await written(client, namespace)).data["leader"]
        programs[leader].kill()
        killed = time.monotonic()
        await another_than(leader, client, namespace)
        assert time.monotonic() - killed < LEASE_SECONDS + 2
        await programs[leader].wait()


async def test_a_leader_that_was_paused_past_its_lease_does_not_act_when_it_goes_on(
    kubeconfig: Path, client: Client, namespace: str
) -> None:
    await client.create(config_map(namespace, "work"))
    async with replicas(kubeconfig, namespace, "a", "b") as programs:
        found = await written(client, namespace)
        leader = found.data["leader"]
        async with client.watch(Query(ConfigMap, namespace), found.metadata.resource_version) as events:
            await anext(events)
        await asyncio.sleep(PAUSE_SECONDS / 4)  # past the end of that write, before the next one
        programs[leader].send_signal(signal.SIGSTOP)
        new = await another_than(leader, client, namespace)
        programs[leader].send_signal(signal.SIGCONT)
        _, errors = await asyncio.wait_for(programs[leader].communicate(), 10)
        assert programs[leader].returncode == 1
        assert b"LeadershipLost" in errors
        async with asyncio.timeout(10):
            last = (await client.get(ConfigMap, new.key)).metadata.resource_version
            async with client.watch(Query(ConfigMap, namespace), new.metadata.resource_version) as events:
                async for event in events:
                    assert event.object["data"]["leader"] != leader
                    if int(event.object["metadata"]["resourceVersion"]) >= int(last):
                        break


async def test_a_stop_hands_the_lease_over_within_three_seconds_after_the_work_has_ended(
    kubeconfig: Path, client: Client, namespace: str
) -> None:
    steps: list[str] = []

    def replica(name: str) -> Manager:
        async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
            steps.append(f"{name} works")
            await asyncio.sleep(0.1)
            steps.append(f"{name} ends")

        manager = Manager(kubeconfig=kubeconfig, leader_election=LeaderElection("test", namespace))
        manager.controller(Query(ConfigMap, namespace, field_selector="metadata.name=work"), reconcile)
        return manager

    first, second = replica("first"), replica("second")
    await client.create(config_map(namespace, "work"))
    await first.start()
    waiting = asyncio.create_task(second.start())
    await eventually(second.cache.has_synced)
    await eventually(lambda: steps == ["first works"])
    assert not waiting.done()
    await first.stop()
    stopped = time.monotonic()
    assert steps == ["first works", "first ends"]
    await waiting
    assert time.monotonic() - stopped < 3
    await eventually(lambda: steps[2:] == ["second works", "second ends"])
    lease = await client.get(Lease, ResourceKey(namespace, "test"))
    assert lease.spec.lease_transitions == 1
    await second.stop()
    assert (await client.get(Lease, lease.key)).spec.holder_identity == ""


async def test_a_stop_of_the_work_that_cancels_the_leader_itself_is_no_fault() -> None:
    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context))
    elector = LeaderElector(Client("/none"), LeaderElection("x", namespace="ns"), SystemClock(), Metrics())
    elector._core.leads_until = time.monotonic()

    def stop_work() -> None:
        holding.cancel()

    holding: asyncio.Task[Any] = asyncio.create_task(elector.hold(stop_work))
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert faults == []


async def test_a_standby_says_once_that_the_lease_cannot_be_reached_and_who_leads_when_it_can(tmp_path: Path) -> None:
    _, lease = leading("a")
    answers = [status(403, "Forbidden", "no")] * 5

    async def answer(request: web.Request) -> web.StreamResponse:
        return await answers.pop()(request) if answers else web.json_response(lease.to_dict())

    async with faulty_server(tmp_path, on_list=answer, on_watch=streaming()) as server:
        client = Client(server.kubeconfig)
        settings = LeaderElection("test", "ns", retry_seconds=0.01)
        waiting = asyncio.create_task(LeaderElector(client, settings, SystemClock(), Metrics()).acquire())
        with structlog.testing.capture_logs() as logs:
            await eventually(lambda: server.count("list") == 10)
        waiting.cancel()
        await client.close()
    assert [(entry["event"], entry.get("holder")) for entry in logs] == [
        ("cannot reach the lease, trying again", None),
        ("standing by", "a"),
    ]


@pytest.mark.parametrize("trouble", ["portal", "kubeconfig", "fault"])
async def test_a_leader_that_cannot_renew_for_whatever_reason_stops_its_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    monkeypatch.setattr("neptune.runtime.http.RELOAD_SECONDS", 0.0)
    lease: dict[str, Any] = {}
    broken = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if broken.is_set() and trouble == "portal":
            return web.Response(text="<html>please log in</html>")
        if broken.is_set() and trouble == "kubeconfig":
            server.kubeconfig.write_text("{")  # half written, when the client loads it anew
            return await status(401, "Unauthorized")(request)
        if request.method == "GET" and not lease:
            return await status(404, "NotFound")(request)
        if request.method != "GET":
            lease.update(await request.json())
            lease["metadata"]["resourceVersion"] = str(int(lease["metadata"].get("resourceVersion", 0)) + 1)
        return web.json_response(lease)

    working: list[float] = []

    async def work() -> None:
        while True:
            working.append(time.monotonic())
            await asyncio.sleep(0.01)

    async with faulty_server(tmp_path, on_list=answer, on_watch=streaming()) as server:
        election = LeaderElection("test", "ns", lease_seconds=2, renew_seconds=1, retry_seconds=0.1)
        manager = Manager(kubeconfig=server.kubeconfig, leader_election=election)
        manager.add(work)
        await manager.start()
        broken.set()
        if trouble == "fault":
            monkeypatch.setattr(Candidate, "claim", None)
        start = time.monotonic()
        with pytest.raises(LeadershipLost):
            await asyncio.wait_for(manager._serving, 10)  # type: ignore[arg-type]  # it was started
        assert working[-1] - start < election.lease_seconds


async def test_a_lease_that_another_took_ends_the_manager_and_its_parts(
    kubeconfig: Path, client: Client, namespace: str
) -> None:
    parts: list[str] = []

    async def part() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            parts.append("part ended")

    election = LeaderElection("test", namespace, lease_seconds=3, renew_seconds=2, retry_seconds=0.05)
    manager = Manager(kubeconfig=kubeconfig, listen="127.0.0.1:0", leader_election=election)
    manager.add(part)
    registry = manager.metrics.registry
    assert registry.get_sample_value("leader_election_master_status", {"name": "test"}) == 0
    serving = asyncio.create_task(manager.serve())
    await eventually(lambda: registry.get_sample_value("leader_election_master_status", {"name": "test"}) == 1)
    async with asyncio.timeout(5):
        while True:
            lease = await client.get(Lease, ResourceKey(namespace, "test"))
            lease.spec.holder_identity = "thief"
            with suppress(Conflict):  # it was renewed since
                await client.update(lease)
                break
    with pytest.raises(LeadershipLost, match="thief holds it"):
        await asyncio.wait_for(serving, 5)
    assert parts == ["part ended"]
    assert registry.get_sample_value("leader_election_master_status", {"name": "test"}) == 0
    assert registry.get_sample_value("leader_election_slowpath_total", {"name": "test"}) == 1
