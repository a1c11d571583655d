"""A FederatedTask from its creation to the Model's metrics, against a real API server, with nodes driven by hand."""

from __future__ import annotations

import asyncio

import pytest

from neptune.api import Dataset, FederatedTask, Model, ResourceKey, get_condition
from neptune.controllers import patience
from neptune.controllers.app import CloudController
from neptune.controllers.tasks import FederatedTasks
from neptune.runtime import Client
from neptune.runtime.errors import ServerError
from neptune.runtime.writer import StatusWriter
from neptune.transport.broker import BrokerCore
from tests.controllers.cluster import Cluster
from tests.controllers.nodes import Time, Voice, eventually, transport, worked
from tests.controllers.tasks.bench import Bench, condition, running, states


async def test_a_task_goes_out_runs_and_its_metrics_come_to_the_model(cloud: Bench) -> None:
    uid = await cloud.given(hub="hub", parameters={"rounds": "5"}, deadlineSeconds=600)
    order = await cloud.order("edge1", uid)
    assert (order.kind, order.namespace, order.name, order.generation) == (
        "FederatedTask",
        cloud.namespace,
        "digits",
        1,
    )
    assert order.spec["work"] == {"parameters": {"rounds": "5"}, "deadlineSeconds": 600}
    model = next(item for item in cloud.nodes["edge1"].pushed if item.kind == "Model")
    assert (model.spec, order.spec["models"]) == ({"url": "/models/m", "format": "npz"}, ["m"])
    started = await cloud.reason("WaitingForNodes")
    assert started.status.start_time is not None
    for node in ("edge0", "edge1", "hub"):
        assert await cloud.say(node, uid, "Pending", message="no worker yet") == 200
    assert (await cloud.get()).status.reason == "WaitingForWorkers"
    assert await cloud.say("edge0", uid, "Running", seq=2, progress=40, metrics={"loss": "0.31"}, samples=600) == 200
    task = await cloud.get()
    assert (task.status.phase, task.status.progress, task.status.completions) == ("Running", "13%", "0/3")
    assert task.status.participants[0].metrics == {"loss": "0.31"}
    await cloud.say("edge0", uid, "Completed", seq=3, metrics={"loss": "0.3"})
    await cloud.say("edge1", uid, "Completed", seq=3, metrics={"loss": "0.2"})
    assert (await cloud.get_model()).status.metrics == []
    await cloud.say("hub", uid, "Completed", seq=3, metrics={"loss": "0.25", "accuracy": "0.93"})
    task, finished = await cloud.get(), await cloud.get_model()
    assert (task.status.phase, task.status.progress, task.status.completions) == ("Completed", "100%", "3/3")
    assert condition(task, "Complete") == ("True", "Completed")
    assert [(each.key, each.value) for each in finished.status.metrics] == [("accuracy", "0.93"), ("loss", "0.25")]
    ready = get_condition(finished.status.conditions, "Ready")
    assert ready is not None
    assert (ready.status, finished.status.observed_generation) == ("True", 1)
    assert finished.status.update_time is not None
    for node in ("edge0", "edge1", "hub"):
        await eventually(lambda node=node: {uid, finished.metadata.uid} <= set(cloud.nodes[node].deleted))  # type: ignore[misc]
    story = await cloud.events("Completed")
    assert [word for word in story if word not in ("ParticipantCompleted", "AggregatorCompleted")] == [
        "Scheduled", "Started", "Completed",
    ]  # fmt: skip
    assert story.count("ParticipantCompleted") == 2


async def test_without_an_aggregator_the_model_gets_the_mean_by_samples(cloud: Bench) -> None:
    uid = await cloud.given()
    await cloud.say("edge0", uid, "Completed", samples=100, metrics={"loss": "0.5", "note": "a"})
    await cloud.say("edge1", uid, "Completed", samples=300, metrics={"loss": "0.1", "note": "b"})
    model = await cloud.get_model()
    assert [(each.key, each.value) for each in model.status.metrics] == [("loss", "0.2")]


async def test_a_failed_task_changes_no_model_and_leaves_the_nodes(cloud: Bench) -> None:
    uid = await cloud.given()
    await cloud.say("edge0", uid, "Completed", metrics={"loss": "0.5"})
    assert await cloud.say("edge1", uid, "Failed", message="no memory") == 200
    task = await cloud.get()
    assert (task.status.phase, condition(task, "Failed")) == ("Failed", ("True", "ParticipantFailed"))
    assert task.status.message == "edge1: no memory"
    assert (await cloud.get_model()).status.to_dict() == {}
    await eventually(lambda: uid in cloud.nodes["edge0"].deleted)
    assert "ParticipantFailed" in await cloud.events("Failed")
    assert await cloud.say("edge0", uid, "Running", seq=2) == 404, "it is over"


async def test_what_is_missing_is_a_condition_with_its_name_and_its_coming_starts_the_work(cloud: Bench) -> None:
    uid = await cloud.task()
    task = await cloud.reason("ModelMissing")
    assert condition(task, "Scheduled") == ("False", "ModelMissing")
    assert "no Model m" in (task.status.message or "")
    await cloud.model()
    task = await cloud.reason("DatasetMissing")
    assert "no Dataset d0, d1" in (task.status.message or "")
    await cloud.dataset("d0", "edge0")
    await cloud.dataset("d1")
    assert "spec.nodeName of Dataset d1 is empty" in ((await cloud.reason("DatasetWithoutNode")).status.message or "")
    assert [item.uid for item in cloud.nodes["edge0"].pushed if item.kind != "Dataset"] == []
    await Cluster(cloud.client, cloud.namespace).edit("d1", node_name="edge1")
    await cloud.order("edge0", uid)
    await cloud.order("edge1", uid)
    assert condition(await cloud.reason("WaitingForNodes"), "Scheduled") == ("True", "Scheduled")


async def test_the_deadline_fails_the_task(bench: Bench) -> None:
    async with running(bench):
        uid = await bench.given(deadlineSeconds=1)
        await bench.say("edge0", uid, "Completed")
        task = await bench.reason("DeadlineExceeded")
        assert (task.status.phase, task.status.message) == ("Failed", "1/2 shares were complete 1 s after the start")
        await eventually(lambda: uid in bench.nodes["edge1"].deleted)
        assert "DeadlineExceeded" in await bench.events("DeadlineExceeded")


async def test_nodes_that_are_away_are_named_until_they_come(bench: Bench) -> None:
    async with running(bench, "edge0"):
        await bench.dataset("d0", "edge0")
        await bench.dataset("d1", "edge1")
        await bench.model()
        uid = await bench.task()
        task = await bench.reason("NodeNeverSeen")
        assert condition(task, "NodesOnline") == ("False", "NodeNeverSeen")
        assert "run edge-agent --node edge1" in (task.status.message or "")
        async with Voice(bench.broker, "edge1") as late:
            bench.nodes["edge1"] = late
            await late.birth()
            await bench.until(lambda task: condition(task, "NodesOnline") == ("True", "NodesOnline"))
            await bench.say("edge1", uid)
            await late.close(late.will(1))
        bench.clock.ahead += 31
        async with Voice(bench.broker, "other") as other:  # makes the link look at its clock
            await other.birth()
            task = await bench.reason("NodeOffline")
        assert (task.status.phase, states(task)["edge1"]) == ("Running", "Running")
        assert {"NodeNeverSeen", "NodeOffline"} <= set(await bench.events("NodeOffline"))


async def test_what_another_controller_makes_of_it_again_and_again_is_left_for_a_while(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SAY_BASE_SECONDS", 30.0)
    other = "as another sees it"

    async def differ() -> None:
        task = await bench.get()
        task.status.message = other
        await bench.client.status.patch(task)

    async with running(bench, "edge0"):
        await bench.dataset("d0", "edge0")
        await bench.dataset("d1", "edge1")
        await bench.model()
        await bench.task()
        await bench.reason("NodeNeverSeen")
        await bench.stays(seconds=0.3)
        await differ()
        await bench.until(lambda task: task.status.message != other)
        await differ()
        await bench.stays(seconds=0.5)
        assert (await bench.get()).status.message == other


async def test_a_silent_node_is_pushed_again_until_it_answers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "REPUSH_BASE_SECONDS", 0.2)
    async with running(bench):
        uid = await bench.given()
        await bench.say("edge1", uid, "Pending")
        silent, answered = (bench.nodes[name] for name in ("edge0", "edge1"))

        def pushed(node: Voice) -> list[str]:
            return [item.kind for item in node.pushed if item.kind != "Dataset"]

        before = len(pushed(answered))
        await eventually(lambda: pushed(silent).count("FederatedTask") >= 3 and pushed(silent).count("Model") >= 3)
        assert len(pushed(answered)) == before
        await bench.say("edge0", uid, "Pending")
        before = len(pushed(silent))
        await asyncio.sleep(0.7)
        assert len(pushed(silent)) == before


async def test_an_edit_starts_the_work_anew_and_older_reports_are_refused(cloud: Bench) -> None:
    uid = await cloud.given(parameters={"rounds": "5"})
    await cloud.say("edge0", uid, "Completed", metrics={"loss": "0.5"})
    task = await cloud.get()
    task.spec.parameters = {"rounds": "9"}
    await cloud.client.patch(task)
    await eventually(lambda: cloud.nodes["edge0"].pushed[-1].generation == 2)
    assert (await cloud.order("edge0", uid)).spec["work"] == {"parameters": {"rounds": "9"}}
    task = await cloud.until(lambda task: task.status.observed_generation == 2)
    assert states(task) == {"edge0": "Pending", "edge1": "Pending"}
    assert await cloud.say("edge1", uid, "Completed", seq=2) == 409
    assert await cloud.say("edge1", uid, "Completed", seq=3, generation=2) == 200
    await cloud.say("edge0", uid, "Completed", seq=4, generation=2, metrics={"loss": "0.1"})
    assert (await cloud.get()).status.phase == "Completed"


async def test_a_finished_task_stays_as_it_is_whatever_happens_to_what_it_names(cloud: Bench) -> None:
    uid = await cloud.given()
    for node in ("edge0", "edge1"):
        await cloud.say(node, uid, "Completed")
    finished = await cloud.get()
    await cloud.client.delete(Model, ResourceKey(cloud.namespace, "m"))
    await cloud.client.delete(Dataset, ResourceKey(cloud.namespace, "d0"))
    await cloud.nodes["edge1"].close(cloud.nodes["edge1"].will(1))
    await cloud.stays()
    assert (await cloud.get()).to_dict() == finished.to_dict()


async def test_a_deleted_task_and_a_changed_or_deleted_model_follow_on_the_nodes(cloud: Bench) -> None:
    uid = await cloud.given()
    model = await cloud.get_model()
    model.spec.url = "/models/new"
    model = await cloud.client.patch(model)
    node = cloud.nodes["edge0"]
    await eventually(lambda: [item.spec["url"] for item in node.pushed if item.kind == "Model"][-1] == "/models/new")
    await cloud.client.delete(model)
    await eventually(lambda: model.metadata.uid in node.deleted)
    assert condition(await cloud.reason("ModelMissing"), "Scheduled") == ("False", "ModelMissing")
    await cloud.client.delete(FederatedTask, ResourceKey(cloud.namespace, "digits"))
    await eventually(lambda: uid in node.deleted and uid in cloud.nodes["edge1"].deleted)
    assert await cloud.say("edge0", uid) == 404


async def test_a_task_whose_model_is_gone_completes_all_the_same_and_says_what_was_lost(cloud: Bench) -> None:
    uid = await cloud.given()
    await cloud.say("edge0", uid, "Running")
    await cloud.client.delete(Model, ResourceKey(cloud.namespace, "m"))
    await cloud.reason("ModelMissing")
    for node in ("edge0", "edge1"):
        assert await cloud.say(node, uid, "Completed", seq=2, metrics={"loss": "1"}) == 200
    assert (await cloud.get()).status.phase == "Completed"
    assert (await cloud.events("Completed", "ModelMissing", "ModelMissing")).count("ModelMissing") == 2


async def test_a_crash_between_the_two_writes_heals(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    patch = StatusWriter.patch

    async def lost(self: StatusWriter, obj: FederatedTask | Model) -> object:
        if isinstance(obj, FederatedTask) and obj.status.phase == "Completed":
            raise ServerError(500, "InternalError", "the process died here")
        return await patch(self, obj)

    with monkeypatch.context() as dying:
        async with running(bench):
            uid = await bench.given()
            await bench.say("edge0", uid, "Completed", metrics={"loss": "0.5"})
            dying.setattr(StatusWriter, "patch", lost)
            await bench.nodes["edge1"].report(worked(uid, "Completed", metrics={"loss": "0.1"}))
            await eventually_metrics(bench)
            assert bench.nodes["edge1"].verdicts == []
    async with running(bench):
        assert (await bench.get()).status.phase == "Running"
        assert await bench.say("edge1", uid, "Completed", metrics={"loss": "0.1"}) == 200
        assert (await bench.get()).status.phase == "Completed"
        assert [(each.key, each.value) for each in (await bench.get_model()).status.metrics] == [("loss", "0.3")]


async def eventually_metrics(bench: Bench) -> None:
    async with asyncio.timeout(10):
        while not (await bench.get_model()).status.metrics:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0.02)


async def test_a_cloud_that_starts_anew_writes_and_pushes_nothing_where_nothing_changed(bench: Bench) -> None:
    async with running(bench):
        uid = await bench.given()
        for node in ("edge0", "edge1"):
            await bench.say(node, uid, "Running")
    before = await bench.get()
    async with running(bench):
        await bench.stays(seconds=1.0)
        assert (await bench.get()).to_dict() == before.to_dict()
        assert [item.kind for item in bench.nodes["edge0"].pushed if item.uid == uid] == []


async def test_a_young_cloud_gives_a_node_that_has_worked_time_to_show_itself(bench: Bench) -> None:
    async with running(bench):
        uid = await bench.given()
        for node in ("edge0", "edge1"):
            await bench.say(node, uid, "Running")
    bench.broker = BrokerCore()  # one that has kept no birth
    async with running(bench, "edge0"):
        await bench.stays(seconds=0.8)
        bench.clock.ahead += 31
        assert await bench.say("edge0", uid, "Running", seq=2, progress=1) == 200
        assert "edge1" in ((await bench.reason("NodeNeverSeen")).status.message or "")


async def test_a_status_that_was_lost_shows_in_the_digests_of_its_node_alone(bench: Bench) -> None:
    async with running(bench) as cloud:
        uid = await bench.given()
        roots = {node: cloud.link.core.inventory.statuses(node).root for node in ("edge0", "edge1")}
        await bench.say("edge0", uid, "Running", progress=7)
        now = {node: cloud.link.core.inventory.statuses(node) for node in ("edge0", "edge1")}
        await eventually(lambda: now["edge0"].root != roots["edge0"])
        assert now["edge1"].root == roots["edge1"]
        task = await bench.get()
        task.status.participants = []
        await bench.client.status.patch(task)
        await bench.until(lambda task: len(task.status.participants) == 2)
        await eventually(lambda: now["edge0"].root == roots["edge0"])
        assert await bench.say("edge0", uid, "Running", seq=2, id_="1-Running", progress=7) == 200
        assert (await bench.get()).status.participants[0].progress == 7


async def test_kinds_that_are_not_installed_hold_up_no_dataset(
    bench: Bench, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FederatedTask, "resource", FederatedTask.resource.__class__("nowhere.io", "v1", "F", "fs"))
    async with running(bench, "edge0") as cloud:
        await bench.dataset("d0", "edge0")
        await eventually(lambda: bench.nodes["edge0"].pushed)
        assert cloud.manager.ready["caches"]() is True


async def test_two_kinds_of_one_name_are_refused(client: Client, bench: Bench) -> None:
    with pytest.raises(ValueError, match="there is a kind FederatedTask already"):
        CloudController(
            client, transport(bench.broker, "cloud"), Time(), topic_prefix="a", workers=1,
            task_kinds=[FederatedTasks(), FederatedTasks()],
        )  # fmt: skip
