"""Objects and functions that are wrong, in one manager with one that is right, on a real API server.

What is wrong before a manager runs, a kubeconfig or a token, is in `test_access` and `test_credentials`; a kind that
is not installed in `test_watch` and `tests/cli/test_cloud_controller`.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, ClassVar

import structlog

from neptune.api.core import ConfigMap, Event
from neptune.api.meta import Resource, ResourceKey, ResourceType
from neptune.runtime import Client, Context, Manager, Query
from neptune.runtime.watchdog import BLOCKED_SECONDS
from tests.runtime.kinds import config_map
from tests.runtime.widgets import eventually


class Numbers(Resource):
    """A ConfigMap whose values are numbers; the server takes others too."""

    resource: ClassVar[ResourceType] = ResourceType("", "v1", "ConfigMap", "configmaps")

    data: dict[str, int]


async def test_an_object_that_does_not_fit_its_type_is_told_to_people_and_spoils_only_itself(
    with_datasets: Path, client: Client, namespace: str
) -> None:
    seen: dict[str, int] = {}

    async def reconcile(ctx: Context, key: ResourceKey) -> None:
        found = ctx.cache.get(Numbers, key)
        seen[key.name] = found.data["n"] if found else 0

    wrong = await client.create(config_map(namespace, "wrong", n="many"))
    await client.create(config_map(namespace, "right", n="1"))
    manager = Manager(kubeconfig=with_datasets)
    manager.cache.index(Numbers, "n", lambda numbers: [str(numbers.data["n"])])
    manager.controller(Query(Numbers, namespace), reconcile)
    await manager.start()
    await eventually(lambda: seen == {"right": 1})
    wrong.data["n"] = "2"
    events: list[Event] = []
    async with asyncio.timeout(10):
        while not events:
            events = [event for event in (await client.list(Event, namespace)).items if event.reason == "Undecodable"]
    await client.patch(wrong)
    await eventually(lambda: seen == {"right": 1, "wrong": 2})
    await manager.stop()
    [event] = events
    assert (event.type, event.regarding.kind, event.regarding.name) == ("Warning", "ConfigMap", "wrong")
    assert event.regarding.uid == wrong.metadata.uid
    assert "data.n" in event.note
    count = manager.metrics.registry.get_sample_value("neptune_undecodable_objects_total", {"resource": "configmaps"})
    assert count == 1


async def raises(_ctx: Context, _key: ResourceKey) -> None:
    raise LookupError("a fault")


async def returns_nonsense(_ctx: Context, _key: ResourceKey) -> Any:
    return 42


async def never_returns(_ctx: Context, _key: ResourceKey) -> None:
    await asyncio.Event().wait()


async def blocks(_ctx: Context, _key: ResourceKey) -> None:
    time.sleep(BLOCKED_SECONDS + 0.6)  # noqa: ASYNC251  # what is tested


async def test_functions_that_misbehave_are_named_and_leave_the_others_alone(
    with_datasets: Path, client: Client, namespace: str
) -> None:
    served: set[str] = set()

    async def serves(_ctx: Context, key: ResourceKey) -> None:
        served.add(key.name)

    manager = Manager(kubeconfig=with_datasets, stop_seconds=3.0)
    for function in (serves, raises, returns_nonsense, never_returns, blocks):
        manager.controller(Query(ConfigMap, namespace), function, name=function.__name__, timeout_seconds=0.3)
    with structlog.testing.capture_logs() as logs:
        await manager.start()
        await client.create(config_map(namespace, "first"))
        await eventually(lambda: {"event loop is blocked", "event loop goes on"} <= {entry["event"] for entry in logs})
        await client.create(config_map(namespace, "second"))
        await eventually(lambda: served == {"first", "second"})
        await manager.stop()
    problems = {
        (entry["controller"], entry["name"]): entry.get("problem", entry["event"])
        for entry in logs
        if entry.get("controller") and entry["log_level"] == "error"
    }
    assert problems.items() >= {
        ("raises", "first"): "a fault",
        ("returns_nonsense", "first"): "reconcile returned 42: return None or RequeueAfter(seconds)",
        ("never_returns", "first"): "reconcile took longer than its 0.3 s",
        ("blocks", "first"): "event loop is blocked",
    }.items()  # fmt: skip
    assert "serves" not in {controller for controller, _ in problems}
