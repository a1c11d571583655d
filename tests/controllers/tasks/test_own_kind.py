"""A kind of one's own as work for nodes: the example's InferenceJob, by the same protocol as FederatedTask."""

from __future__ import annotations

from typing import Any

from neptune.api import Resource
from neptune.testing.crds import install_crds
from tests.controllers.nodes import eventually, worked
from tests.controllers.tasks.bench import Bench, running
from tests.test_examples import module, until


async def test_counters_show_while_it_runs_and_the_model_gets_the_metrics_at_the_end(bench: Bench) -> None:
    example = module("inference_jobs")
    kind: type[Resource] = example.InferenceJob
    await install_crds(bench.client, kind)
    spec = {"model": "m", "dataset": "d0", "seconds": 5}
    job = await bench.client.create(
        kind.from_dict({"metadata": {"namespace": bench.namespace, "name": "j"}, "spec": spec})
    )
    uid = job.metadata.uid

    async def shows(**wanted: Any) -> bool:
        status: dict[str, Any] = (await bench.client.get(kind, job.key)).to_dict().get("status", {})
        return wanted.items() <= status.items()

    async with running(bench, task_kinds=[example.InferenceJobs()]):
        await until(lambda: shows(phase="Pending", message="waiting for m, d0"))
        await bench.model()
        await bench.dataset("d0", "edge0")
        order = await bench.order("edge0", uid)
        assert (order.kind, order.spec["work"], order.spec["models"]) == ("InferenceJob", {"seconds": 5}, ["m"])
        await bench.say("edge0", uid, "Running", metrics={"seen": "120"}, message="at the gate")
        await until(lambda: shows(phase="Running", seen=120, message="at the gate"))
        await bench.say("edge0", uid, "Running", seq=2, metrics={"seen": "250"})
        await until(lambda: shows(seen=250))
        assert (await bench.get_model()).status.metrics == []
        verdict = await bench.report("edge0", worked(uid, "Running", seq=3, metrics={"seen": "many"}))
        assert (verdict.code, "invalid literal for int" in verdict.reason) == (400, True)
        await bench.say("edge0", uid, "Completed", seq=4, metrics={"seen": "300", "rate": "60.0"})
        await until(lambda: shows(phase="Completed", seen=300))
        metrics = [(each.key, each.value) for each in (await bench.get_model()).status.metrics]
        assert metrics == [("rate", "60.0"), ("seen", "300")]
        await eventually(lambda: uid in bench.nodes["edge0"].deleted)
        assert {"Running", "Completed"} <= set(await bench.events("Completed"))
