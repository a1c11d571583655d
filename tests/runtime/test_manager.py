"""The manager against a real API server, and where that is away."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog

from neptune.api import Dataset, DatasetSpec, ObjectMeta, Resource, ResourceKey, Unstructured
from neptune.errors import SettingsError
from neptune.runtime import Client, Context, Manager, Query
from tests.runtime.widgets import Widget, eventually, faulty_server, item, listing, status, streaming, write_kubeconfig

EXAMPLE = """
import sys
from neptune.api import Dataset
from neptune.runtime import Manager

async def reconcile(ctx, key):
    dataset = ctx.cache.get(Dataset, key)
    if dataset and dataset.status.number_of_samples != len(dataset.spec.url):
        dataset.status.number_of_samples = len(dataset.spec.url)
        await ctx.client.status.patch(dataset)

manager = Manager()
manager.controller(Dataset, reconcile, workers=8)
print("ready", flush=True)
manager.run()
print("stopped", flush=True)
"""


HANGING = """
import asyncio
from neptune.api.meta import Resource, ResourceType
from neptune.runtime import Manager

class Widget(Resource):
    resource = ResourceType("example.com", "v1", "Widget", "widgets")

async def reconcile(ctx, key):
    print("reconciling", flush=True)
    await asyncio.Event().wait()

manager = Manager()
manager.controller(Widget, reconcile)
manager.run()
"""


def dataset(namespace: str, name: str) -> Dataset:
    return Dataset(
        metadata=ObjectMeta(namespace=namespace, name=name),
        spec=DatasetSpec(url="/data/a", format="txt", node_name="edge0"),
    )


async def counted(client: Client, key: ResourceKey) -> int:
    async with asyncio.timeout(15):
        while (number := (await client.get(Dataset, key)).status.number_of_samples) is None:  # noqa: ASYNC110  # as in eventually
            await asyncio.sleep(0.05)
    return number


async def test_the_program_of_the_readme_works_and_stops_on_sigterm(
    client: Client, with_datasets: Path, namespace: str
) -> None:
    first = await client.create(dataset(namespace, "before"))
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", EXAMPLE, env={"KUBECONFIG": str(with_datasets)}, stdout=subprocess.PIPE
    )
    try:
        assert await counted(client, first.key) == len("/data/a")
        second = await client.create(dataset(namespace, "after"))
        assert await counted(client, second.key) == len("/data/a")
        program.send_signal(signal.SIGTERM)
        out, _ = await asyncio.wait_for(program.communicate(), 10)
        assert (out.splitlines()[0], out.splitlines()[-1]) == (b"ready", b"stopped")
        assert program.returncode == 0
    finally:
        if program.returncode is None:
            program.kill()
            await program.wait()


async def test_start_and_stop_inside_a_running_loop(with_datasets: Path, client: Client, namespace: str) -> None:
    seen: list[ResourceKey] = []

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        seen.append(key)

    created = await client.create(dataset(namespace, "a"))
    manager = Manager(kubeconfig=with_datasets)
    manager.controller(Query(Dataset, namespace), reconcile)
    await manager.start()
    await eventually(lambda: seen == [created.key])
    assert manager.cache.has_synced()
    await manager.stop()
    await manager.stop()


async def test_parts_start_after_the_caches_and_stop_after_the_workers(tmp_path: Path) -> None:
    order: list[str] = []
    working = asyncio.Event()

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        order.append("reconcile")
        working.set()
        await asyncio.sleep(0.05)
        order.append("reconcile ended")

    async def link() -> None:
        order.append(f"link {manager.cache.has_synced()}")
        try:
            await asyncio.Event().wait()
        finally:
            order.append("link ended")

    async with faulty_server(tmp_path, on_list=listing(item("a")), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig)
        manager.controller(Widget, reconcile)
        manager.add(link)
        await manager.start()
        await working.wait()
        await manager.stop()
    assert order == ["link True", "reconcile", "reconcile ended", "link ended"]


async def test_an_api_server_that_is_away_is_said_once_and_found_when_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.02)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    manager = Manager(kubeconfig=write_kubeconfig(tmp_path / "away", f"http://127.0.0.1:{port}"))
    manager.cache.watch(Widget)
    with structlog.testing.capture_logs() as logs:
        starting = asyncio.create_task(manager.start())
        await asyncio.sleep(0.2)
        assert not starting.done()
        async with faulty_server(tmp_path, on_list=listing(), on_watch=streaming(), port=port):
            await starting
            await manager.stop()
    assert [entry["event"] for entry in logs] == ["cannot watch, trying again", "watching again", "started", "stopped"]
    assert f"127.0.0.1:{port}" in logs[0]["problem"]


async def test_a_manager_that_waits_for_the_server_can_be_stopped(tmp_path: Path) -> None:
    async with faulty_server(tmp_path, on_list=status(503, "Unavailable"), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig)
        manager.cache.watch(Widget)
        starting = asyncio.create_task(manager.start())
        await eventually(lambda: server.count("list"))
        await asyncio.wait_for(manager.stop(), 5)
        await starting


STUBBORN = """
import asyncio
from neptune.runtime import Manager
from tests.runtime.widgets import Widget

async def reconcile(ctx, key):
    print("reconciling", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

manager = Manager(stop_seconds=SECONDS)
manager.controller(Widget, reconcile)
manager.run()
"""


@pytest.mark.parametrize(("seconds", "signals", "code"), [(0.2, 1, 0), (20, 2, -signal.SIGINT)])
async def test_a_coroutine_that_will_not_be_cancelled_does_not_keep_the_program(
    tmp_path: Path, seconds: float, signals: int, code: int
) -> None:
    async with faulty_server(tmp_path, on_list=listing(item("a")), on_watch=streaming()) as server:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", STUBBORN.replace("SECONDS", str(seconds))),
            env={"KUBECONFIG": str(server.kubeconfig)},
            stdout=subprocess.PIPE,
        )
        assert program.stdout
        try:
            for expected in (b"reconciling", b"stopping")[:signals]:
                while expected not in (line := await asyncio.wait_for(program.stdout.readline(), 10)):
                    assert line, "the program ended"
                program.send_signal(signal.SIGINT)
            assert await asyncio.wait_for(program.wait(), 5) == code
        finally:
            with suppress(ProcessLookupError):
                program.kill()
            await program.wait()


async def test_a_second_signal_ends_the_program_at_once(tmp_path: Path) -> None:
    async with faulty_server(tmp_path, on_list=listing(item("a")), on_watch=streaming()) as server:
        program = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HANGING, env={"KUBECONFIG": str(server.kubeconfig)}, stdout=subprocess.PIPE
        )
        assert program.stdout
        for expected in (b"reconciling", b"stopping"):
            while expected not in (line := await asyncio.wait_for(program.stdout.readline(), 10)):
                assert line, "the program ended"
            program.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(program.wait(), 5) == -signal.SIGTERM


async def test_a_server_that_recovers_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neptune.runtime.watch.INITIAL_DELAY_SECONDS", 0.02)
    seen: list[str] = []

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        seen.append(key.name)

    async with faulty_server(tmp_path, on_list=status(503, "Unavailable"), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig)
        manager.controller(Widget, reconcile)
        starting = asyncio.create_task(manager.start())
        await eventually(lambda: server.count("list") >= 2)
        server.on_list = listing(item("a"))
        await starting
        await eventually(lambda: seen == ["a"])
        await manager.stop()


async def nothing(ctx: Context, key: ResourceKey) -> None: ...


async def test_what_comes_after_the_start_is_refused_and_not_forgotten(tmp_path: Path) -> None:
    manager = Manager(kubeconfig=write_kubeconfig(tmp_path / "kubeconfig", "http://127.0.0.1:1"))
    await manager.start()
    with pytest.raises(RuntimeError, match=r"controller widgets\.example\.com comes too late"):
        manager.controller(Widget, nothing)
    with pytest.raises(RuntimeError, match="a runnable comes too late"):
        manager.add(manager.stop)
    await manager.stop()
    with pytest.raises(RuntimeError, match="a second start comes too late"):
        await manager.start()


@pytest.mark.parametrize(
    ("reconcile", "numbers", "problem"),
    [
        (nothing, {"workers": 0}, ValueError),
        (nothing, {"timeout_seconds": 0}, ValueError),
        (nothing, {"timeout_seconds": float("nan")}, ValueError),
        ("nothing", {}, TypeError),
    ],
    ids=["no workers", "no time", "no number", "no function"],
)
def test_a_controller_that_could_never_work_is_refused(
    reconcile: Any, numbers: dict[str, Any], problem: type[Exception]
) -> None:
    with pytest.raises(problem, match=r"^controller widgets\.example\.com: "):
        Manager().controller(Widget, reconcile, **numbers)


@pytest.mark.parametrize("kind", [Resource, Unstructured, int, "Widget", Query(Resource)], ids=str)
def test_what_is_no_kind_is_refused_with_what_one_is(kind: Any) -> None:
    uses: list[dict[str, Any]] = [
        {"cls": kind},
        {"cls": Widget, "owns": [kind]},
        {"cls": Widget, "watches": {kind: list}},
    ]
    for use in uses:
        with pytest.raises(TypeError, match=r"is no kind: give a subclass of neptune\.api\.Resource that has"):
            Manager().controller(**use, reconcile=nothing)


def test_run_closes_a_client_that_was_given(with_datasets: Path) -> None:
    program = (
        "import os, signal\nfrom neptune.api import Dataset\nfrom neptune.runtime import Client, Manager\n"
        "async def reconcile(ctx, key): ...\n"
        "async def stop(): os.kill(os.getpid(), signal.SIGTERM)\n"
        f"manager = Manager(Client({str(with_datasets)!r}, field_manager='me'))\n"
        "manager.controller(Dataset, reconcile)\nmanager.add(stop)\nmanager.run()\n"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert result.stderr == ""


async def test_a_bad_kubeconfig_ends_the_start_with_a_settings_error(tmp_path: Path) -> None:
    manager = Manager(kubeconfig=tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="nowhere"):
        await manager.start()


def test_run_says_what_a_kubeconfig_lacks_without_the_library_s_own_calls(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("a: [")
    for kubeconfig, problem in (("nowhere", "there is no kubeconfig at"), ("config", "is no YAML")):
        with pytest.raises(SettingsError, match=problem) as raised:
            Manager(kubeconfig=tmp_path / kubeconfig).run()
        assert len(raised.traceback) == 2  # this line, and that of `run`
        assert raised.value.__suppress_context__


async def test_a_runnable_that_fails_ends_the_manager_with_its_error(tmp_path: Path) -> None:
    async def fail() -> None:
        raise OSError("port in use")

    async with faulty_server(tmp_path, on_list=listing(), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig)
        manager.cache.watch(Widget)
        manager.add(fail)
        with pytest.raises(OSError, match="port in use"):
            await manager.serve()


async def test_a_reconcile_that_does_not_end_is_cancelled_at_the_deadline(tmp_path: Path) -> None:
    working = asyncio.Event()

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        working.set()
        await asyncio.Event().wait()

    async with faulty_server(tmp_path, on_list=listing(item("a")), on_watch=streaming()) as server:
        manager = Manager(kubeconfig=server.kubeconfig, stop_seconds=0.05)
        manager.controller(Widget, reconcile)
        await manager.start()
        await working.wait()
        with structlog.testing.capture_logs() as logs:
            await asyncio.wait_for(manager.stop(), 5)
    assert logs[0].items() >= {"event": "does not stop in time", "part": "widgets.example.com"}.items()
