"""What nodes report, on its way into a real API server: what is written, what is refused, and what wins."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from neptune.api import Dataset
from neptune.runtime.errors import NotFound
from neptune.transport.broker import BrokerCore
from tests.controllers.cluster import Cluster, accepted, controller, counted, given
from tests.controllers.nodes import Node, Voice, eventually, report


async def test_the_verdict_comes_only_after_the_write(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        uid = await given(cluster, node)
        await node.report(report(uid, 3))
        verdict = await node.verdict(1)
        assert (verdict.uid, verdict.code) == (uid, 200)
        assert (await cluster.get()).status.number_of_samples == 3


async def test_a_deleted_dataset_is_taken_back_and_its_late_report_finds_nothing(
    cluster: Cluster, broker: BrokerCore
) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        uid = await given(cluster, node)
        await cluster.client.delete(await cluster.get())
        assert await eventually(lambda: node.deleted) == [uid]
        await node.report(report(uid, 3))
        assert (await node.verdict(1)).code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"update_time": "yesterday"},
        {"update_time": "2026-01-31T12:00:00"},
        {"update_time": "9999-12-31T23:59:59-12:00"},
        {"update_time": "0001-01-01T00:00:00Z"},
        {"reason": ""},
        {"reason": "two words"},
    ],
)
async def test_what_cannot_be_stored_is_refused_for_good_and_not_written(
    cluster: Cluster, broker: BrokerCore, wrong: dict[str, Any]
) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        uid = await given(cluster, node)
        before = await cluster.until(lambda dataset: dataset.status.conditions)
        with structlog.testing.capture_logs() as logs:
            await node.report(report(uid, 3, **wrong))
            verdict = await node.verdict(1)
        assert verdict.code == 400
        assert verdict.reason
        assert [entry["event"] for entry in logs] == ["report refused"]
        await cluster.stays(before, seconds=0.3)
        await accepted(node, uid, 3, seq=2)


async def test_an_unknown_uid_is_not_found(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        await node.report(report("no-such-uid"))
        assert (await node.verdict(1)).code == 404


async def test_a_node_that_reports_what_is_not_its_own_all_the_time_gets_one_line_of_the_log(
    cluster: Cluster, broker: BrokerCore
) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        with structlog.testing.capture_logs() as logs:
            for number in range(1, 6):
                await node.report(report(f"none-{number}", seq=number))
            assert [(await node.verdict(number)).code for number in range(1, 6)] == [404] * 5
        assert [entry["event"] for entry in logs].count("report refused") == 1


@pytest.mark.parametrize("together", [True, False])
async def test_the_newest_report_wins_in_whatever_order_they_arrive(
    cluster: Cluster, broker: BrokerCore, together: bool
) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        uid = await given(cluster, node)
        newer, older = report(uid, 5, seq=2), report(uid, 4, seq=1)
        if together:
            await node.report(newer, older)
        else:
            await node.report(newer)
            await node.verdict(2)
            await node.report(older)
        await node.report(report("the-end", seq=9))
        await node.verdict(9)
        await node.verdict(2)
        written = await cluster.get()
        assert written.status.number_of_samples == 5
        await cluster.stays(written, seconds=0.3)


async def test_a_report_that_comes_twice_gets_its_verdict_twice(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker), Voice(broker, "edge0") as node:
        uid = await given(cluster, node)
        await node.report(report(uid, 3))
        await eventually(lambda: len(node.verdicts) == 1)
        await node.report(report(uid, 3))
        await eventually(lambda: len(node.verdicts) == 2)
        assert [verdict.code for verdict in node.verdicts] == [200, 200]
        assert (await cluster.get()).status.revision == 1


async def test_a_process_of_the_node_that_started_later_counts_its_reports_from_one_again(
    cluster: Cluster, broker: BrokerCore
) -> None:
    async with controller(cluster, broker):
        async with Voice(broker, "edge0") as node:
            uid = await given(cluster, node)
            await accepted(node, uid, 3, seq=7)
        async with Voice(broker, "edge0") as node:
            await accepted(node, uid, 4, seq=1)
        assert counted(4)(await cluster.get())


async def test_a_write_that_meets_another_is_made_again(
    cluster: Cluster, broker: BrokerCore, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch = cluster.client.status.patch
    met = 0

    async def disturbed(dataset: Dataset) -> Dataset:
        nonlocal met
        if dataset.status.number_of_samples == 3 and not met:
            met = 1
            other = await cluster.get()
            other.metadata.labels["touched"] = "yes"
            await cluster.client.patch(other)
        return await patch(dataset)

    monkeypatch.setattr(cluster.client.status, "patch", disturbed)
    async with controller(cluster, broker), Node(broker, "edge0"):
        await cluster.create()
        dataset = await cluster.until(counted(3))
        assert (met, dataset.metadata.labels, dataset.status.revision) == (1, {"touched": "yes"}, 1)


async def test_the_memory_of_reports_ends_with_their_dataset(cluster: Cluster, broker: BrokerCore) -> None:
    async with controller(cluster, broker) as cloud, Node(broker, "edge0"):
        made = await cluster.create()
        await cluster.until(counted(3))
        upstream = cloud.upstream
        assert len(upstream._newest) == 1
        await cluster.client.delete(made)
        await eventually(lambda: not upstream._newest)
        with pytest.raises(NotFound):
            await cluster.get()
