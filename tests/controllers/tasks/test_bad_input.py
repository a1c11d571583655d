"""Reports that a node should not have sent: refused or coalesced with a reason, and nothing else disturbed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from neptune.api import FederatedTask, ResourceKey
from neptune.controllers.tasks import FederatedTasks, Note, Part, View, share_of
from neptune.protocol import codec
from neptune.protocol.messages import WORK_BYTES, WorkReport
from neptune.protocol.work import check
from neptune.runtime.errors import ServerError
from neptune.runtime.writer import StatusWriter
from tests.controllers.nodes import Voice, eventually, worked
from tests.controllers.tasks.bench import Bench, running, states


async def test_a_node_that_takes_no_part_is_refused_and_writes_nothing(cloud: Bench) -> None:
    uid = await cloud.given()
    await cloud.reason("WaitingForNodes")
    async with Voice(cloud.broker, "edge9") as stranger:
        await stranger.birth()
        await stranger.report(worked(uid, "Failed", message="ha"))
        verdict = await stranger.verdict(1)
    assert (verdict.code, "takes no part" in verdict.reason) == (403, True)
    await cloud.stays(seconds=0.3)
    assert (await cloud.get()).status.phase == "Pending"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"state": "Paused"}, "the state 'Paused' is none of"),
        ({"metrics": {"loss": "nan"}}, "not a finite number"),
        ({"metrics": {"loss": "-inf"}}, "not a finite number"),
        ({"metrics": {f"m{number}": "1" for number in range(257)}}, "257 metrics"),
        ({"metrics": {f"m{number}": "x" * 1000 for number in range(30)}}, "bytes of JSON"),
        ({"metrics": {"loss": "x" * 1025}}, "1025 characters"),
        ({"progress": 101}, "from 0 to 100"),
        ({"message": "x" * 1025}, "1025 characters"),
        ({"time": "yesterday"}, "is not RFC 3339"),
        ({"id": "../../etc"}, "the id"),
    ],
    ids=["state", "nan", "inf", "many", "large", "long", "progress", "message", "time", "id"],
)
async def test_what_is_not_usable_is_refused_with_the_reason(cloud: Bench, wrong: dict[str, Any], reason: str) -> None:
    uid = await cloud.given()
    report = worked(uid, "Running")
    assert report.work is not None
    verdict = await cloud.report("edge0", replace(report, work=replace(report.work, **wrong)))
    assert (verdict.code, reason in verdict.reason) == (400, True), verdict.reason
    assert await cloud.say("edge0", uid, "Running", seq=2) == 200, "the node goes on"


async def test_a_task_is_reported_with_work_and_a_dataset_without(cloud: Bench) -> None:
    uid = await cloud.given()
    bare = await cloud.report("edge0", replace(worked(uid), work=None))
    assert (bare.code, bare.reason) == (400, "a task is reported with `work`")
    dataset = next(item for item in cloud.nodes["edge0"].pushed if item.kind == "Dataset")
    assert (await cloud.report("edge0", worked(dataset.uid, seq=2))).code == 404


async def test_the_same_report_twice_is_written_once(cloud: Bench) -> None:
    uid = await cloud.given()
    assert await cloud.say("edge0", uid, "Running", progress=3) == 200
    before = await cloud.get()
    for seq in (2, 3):
        assert await cloud.say("edge0", uid, "Running", seq=seq, id_="1-Running", progress=3) == 200
    assert (await cloud.get()).metadata.resource_version == before.metadata.resource_version


async def test_a_report_that_was_overtaken_undoes_nothing(cloud: Bench) -> None:
    uid = await cloud.given()
    assert await cloud.say("edge0", uid, "Running", seq=9, progress=90) == 200
    await cloud.nodes["edge0"].report(worked(uid, "Running", seq=4, progress=40))
    assert await cloud.say("edge1", uid, "Running") == 200
    assert [row.progress for row in (await cloud.get()).status.participants] == [90, None]


@pytest.mark.parametrize("end", ["Completed", "Failed"])
async def test_after_the_end_nothing_else_counts(cloud: Bench, end: str) -> None:
    uid = await cloud.given()
    assert await cloud.say("edge0", uid, end) == 200
    if end == "Completed":
        verdict = await cloud.report("edge0", worked(uid, "Running", seq=2))
        assert (verdict.code, "was Completed already" in verdict.reason) == (400, True)
        assert states(await cloud.get()) == {"edge0": "Completed", "edge1": "Pending"}
    else:
        assert await cloud.say("edge0", uid, "Running", seq=2) == 404


async def test_ten_thousand_reports_in_a_burst_are_a_handful_of_writes(
    cloud: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = await cloud.given()
    await cloud.reason("WaitingForNodes")
    await cloud.task("other", datasets=("d1",))
    other = (await cloud.get("other")).metadata.uid
    written: list[str] = []
    patch = StatusWriter.patch

    async def noted(self: StatusWriter, obj: Any) -> Any:
        written.append(obj.metadata.name)
        return await patch(self, obj)

    monkeypatch.setattr(StatusWriter, "patch", noted)
    burst = [worked(uid, "Running", seq=seq, progress=seq // 101) for seq in range(1, 10_001)]
    for start in range(0, len(burst), 250):
        await cloud.nodes["edge0"].report(*burst[start : start + 250])
    await cloud.order("edge1", other)
    assert await cloud.say("edge1", other, "Completed", seq=7) == 200
    assert (await cloud.nodes["edge0"].verdict(10_000)).code == 200
    assert (await cloud.get()).status.participants[0].progress == 99
    assert written.count("digits") < 100, "they arrive in 40 messages"


async def test_reports_wait_while_the_api_server_refuses_and_are_written_after(
    cloud: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = await cloud.given()
    attempts = 0
    with monkeypatch.context() as broken:

        async def refuse(_self: StatusWriter, _obj: Any) -> Any:
            nonlocal attempts
            attempts += 1
            raise ServerError(503, "ServiceUnavailable", "etcd has no leader")

        broken.setattr(StatusWriter, "patch", refuse)
        await cloud.nodes["edge0"].report(worked(uid, "Running", progress=1))
        await cloud.nodes["edge1"].report(worked(uid, "Completed"))
        await eventually(lambda: attempts >= 3)
        assert [node.verdicts for node in (cloud.nodes["edge0"], cloud.nodes["edge1"])] == [[], []]
    assert (await cloud.nodes["edge0"].verdict(1)).code == 200
    assert (await cloud.nodes["edge1"].verdict(1)).code == 200
    assert states(await cloud.get()) == {"edge0": "Running", "edge1": "Completed"}


async def test_a_report_that_meets_the_deletion_of_its_task_is_answered(cloud: Bench) -> None:
    uid = await cloud.given()
    await cloud.client.delete(FederatedTask, ResourceKey(cloud.namespace, "digits"))
    await cloud.nodes["edge0"].report(*(worked(uid, "Running", seq=seq) for seq in range(1, 50)))
    assert (await cloud.nodes["edge0"].verdict(49)).code == 404


class Picky(FederatedTasks):
    """A kind that cannot do with some reports: one breaks its own rule, one that of its CRD."""

    def show(self, task: FederatedTask, view: View, now: datetime) -> Sequence[Note]:
        notes = super().show(task, view, now)
        for row in task.status.participants:
            if row.message == "no rule":
                raise ValueError("a rule of one's own")
            if row.message == "no schema":
                row.message = "x" * 5000
        return notes


@pytest.mark.parametrize("word", ["no rule", "no schema"])
async def test_a_report_that_the_kind_or_its_schema_refuses_does_not_hold_up_the_others(
    bench: Bench, word: str
) -> None:
    async with running(bench, task_kinds=[Picky()]):
        uid = await bench.given()
        await bench.reason("WaitingForNodes")
        await bench.nodes["edge0"].report(worked(uid, "Running", message=word))
        await bench.nodes["edge1"].report(worked(uid, "Running", message="fine"))
        verdicts = [await bench.nodes[node].verdict(1) for node in ("edge0", "edge1")]
        assert [verdict.code for verdict in verdicts] == [400, 200]
        assert ("a rule of one's own" if word == "no rule" else "may not be more than 1024") in verdicts[0].reason
        assert states(await bench.get()) == {"edge0": "Pending", "edge1": "Running"}


async def test_a_message_of_a_megabyte_is_answered_and_costs_the_next_one_nothing(cloud: Bench) -> None:
    uid = await cloud.given()
    work = WorkReport("1", "Running", "2026-01-31T12:00:00Z", metrics={f"m{n}": "x" * 1000 for n in range(1000)})
    node = cloud.nodes["edge0"]
    await node.report(replace(worked(uid), work=work))
    await eventually(lambda: any(header.code == 413 for header, _ in node.messages))
    assert await cloud.say("edge0", uid, "Running", seq=2) == 200


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # of aiohttp: it takes some milliseconds
@pytest.mark.parametrize("letter", ["x", "\U0001f600"], ids=["ascii", "emoji"])
async def test_the_most_that_64_nodes_can_report_is_taken_by_the_api_server(bench: Bench, letter: str) -> None:
    await bench.task(datasets=tuple(f"d{number}" for number in range(64)))
    metrics: dict[str, str] = {}
    while codec.size(work := WorkReport("1", "Running", "2026-01-31T12:00:00Z", metrics=metrics)) < WORK_BYTES - 1000:
        metrics[(str(len(metrics)) + letter * 253)[:253]] = letter * 20
    check(work)
    task = await bench.get()
    parts = [Part(f"edge{number}", ("participant",), report=work) for number in range(64)]
    task.status.participants = [share_of(part) for part in parts]
    task.status.aggregator = task.status.participants[0]
    await bench.client.status.patch(task)
    assert len((await bench.get()).status.participants[63].metrics) == len(metrics)
