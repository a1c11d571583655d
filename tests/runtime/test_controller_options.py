"""What a controller may be told besides its function: resync, the meaning of errors, a shard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import structlog

from neptune.api.meta import ResourceKey
from neptune.runtime import Context, GenerationChanged, Mailbox, RequeueAfter, TerminalError
from neptune.runtime.queue import LOW_PRIORITY
from neptune.runtime.watch import Listed, Stored
from tests.runtime.test_controller import controlling, running
from tests.runtime.widgets import eventually, key, widget


async def test_a_resync_calls_again_for_every_object_that_the_predicates_let_pass() -> None:
    calls: list[str] = []

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        calls.append(key.name)

    async with controlling(
        reconcile, resync_seconds=0.05, predicates=[lambda change: change.key.name != "b"]
    ) as informer:
        informer.apply(Listed([widget("a"), widget("b")]))
        await eventually(lambda: calls.count("a") >= 3)
    assert "b" not in calls
    calls.clear()
    async with controlling(reconcile, resync_seconds=0.05, predicates=[GenerationChanged()]) as informer:
        informer.apply(Listed([widget("a")]))
        await asyncio.sleep(0.2)
    assert calls == ["a"]


async def test_a_resync_waits_behind_what_changes() -> None:
    order: list[str] = []
    entered, release = asyncio.Event(), asyncio.Event()

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        order.append(key.name)
        if key.name == "block":
            entered.set()
            await release.wait()

    async with running(reconcile, workers=1, resync_seconds=0.05) as (controller, informer):
        informer.apply(Listed([widget(name) for name in "ab"]))
        await eventually(lambda: len(order) == 2)
        informer.apply(Stored(widget("block")))
        await entered.wait()
        await eventually(lambda: controller.queue.depth()[LOW_PRIORITY] == 3)
        informer.apply(Stored(widget("new")))
        release.set()
        await eventually(lambda: len(order) >= 4)
    assert order[2:4] == ["block", "new"]


COUNTS = tuple(f"controller_runtime_{name}" for name in (
    "reconcile_errors", "terminal_reconcile_errors", "reconcile_panics",
))  # fmt: skip


class Busy(Exception):
    """An error of a library that a user's reconciler calls."""


async def test_a_hook_says_what_an_error_means() -> None:
    calls: dict[str, int] = {}

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        calls[key.name] = calls.get(key.name, 0) + 1
        if calls[key.name] == 1:
            raise {"busy": Busy("full"), "lost": LookupError("no account"), "hook": ValueError("x")}.get(
                key.name, OSError("disk")
            )

    def on_error(error: Exception) -> RequeueAfter | TerminalError | None:
        match error:
            case Busy():
                return RequeueAfter(0.02)
            case LookupError():
                return TerminalError(f"{error}: make one")
            case ValueError():
                raise error
        return None

    with structlog.testing.capture_logs() as logs:
        async with running(reconcile, on_error=on_error) as (controller, informer):
            informer.apply(Listed([widget(name) for name in ("busy", "lost", "hook", "other")]))
            await eventually(lambda: calls == {"busy": 2, "lost": 1, "hook": 2, "other": 2})
            counts = {
                name: controller.metrics.registry.get_sample_value(f"{name}_total", {"controller": "widgets"})
                for name in COUNTS
            }
    said = {entry["name"]: entry for entry in logs if entry["event"].startswith("reconcile failed")}
    assert said["busy"]["retry_seconds"] == 0.02
    assert said["lost"]["event"] == "reconcile failed, waiting for a change"
    assert said["lost"]["problem"] == "no account: make one"
    assert [entry["problem"] for entry in logs if entry["event"] == "on_error failed, backing off"] == ["x"]
    assert [*counts.values()] == [4, 1, 1]


@pytest.mark.parametrize("answer", [5, True, TerminalError], ids=str)
async def test_a_hook_that_answers_nonsense_is_named_and_the_call_made_again(answer: Any) -> None:
    calls = 0

    async def reconcile(_ctx: Context, _key: ResourceKey) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise Busy("full")

    with structlog.testing.capture_logs() as logs:
        async with running(reconcile, on_error=lambda _error: answer) as (_, informer):
            informer.apply(Listed([widget("a")]))
            await eventually(lambda: calls == 2)
    assert [entry["event"] for entry in logs] == ["on_error failed, backing off", "reconcile failed, trying again"]
    assert logs[1].items() >= {"error": "Busy", "problem": "full"}.items()


async def test_a_shard_works_on_its_own_keys_and_lets_go_of_those_it_lost() -> None:
    calls: list[str] = []
    mine = {"a", "b"}
    entered, release = asyncio.Event(), asyncio.Event()
    mailbox: Mailbox[str] = Mailbox()

    async def reconcile(_ctx: Context, key: ResourceKey) -> None:
        calls.append(key.name)
        entered.set()
        await release.wait()

    async with controlling(reconcile, workers=1, sources=[mailbox], shard=lambda key: key.name in mine) as informer:
        informer.apply(Listed([widget(name) for name in "abc"]))
        mailbox.put(key("d"), "report")
        await entered.wait()
        mine.remove("b")  # which waits
        mine.add("e")
        mailbox.put(key("e"), "report")
        release.set()
        await eventually(lambda: "e" in calls)
    assert calls == ["a", "e"]
