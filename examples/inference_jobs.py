"""Work of one's own kind: an InferenceJob shows what a node has seen while it runs, and ends with the model's metrics.

The program serves the kind, and Datasets: BROKER=mqtt://broker:1883 python inference_jobs.py
"""

import asyncio
import os
import signal
from typing import Annotated, ClassVar

from pydantic import Field

from neptune.api import Column, CrdOptions, KubeModel, ListMap, Resource, ResourceType, Share
from neptune.clock import SystemClock
from neptune.controllers.app import CloudController
from neptune.controllers.tasks import Note, Plan, reports_of, share_of
from neptune.protocol.topics import DEFAULT_PREFIX
from neptune.runtime import Client
from neptune.transport.mqtt import MqttTransport
from neptune.transport.mqtt_settings import MqttSettings


class InferenceJobSpec(KubeModel):
    model: Annotated[str, Field(description="The Model to use.", min_length=1, max_length=253)]
    dataset: Annotated[str, Field(description="The Dataset to use it on, on its node.", min_length=1, max_length=253)]
    seconds: Annotated[int, Field(description="How long to run.", ge=1, le=86400)] = 60


class InferenceJobStatus(KubeModel):
    observed_generation: int | None = None
    phase: Annotated[str, Field(max_length=16)] = "Pending"
    seen: Annotated[int, Field(description="Inputs so far.", ge=0)] = 0
    message: Annotated[str, Field(max_length=1024)] = ""
    nodes: Annotated[list[Share], Field(max_length=1), ListMap("node")] = Field(default_factory=list)


class InferenceJob(Resource):
    """InferenceJob uses a model on the data of a node."""

    resource: ClassVar[ResourceType] = ResourceType("example.com", "v1", "InferenceJob", "inferencejobs")
    crd: ClassVar[CrdOptions] = CrdOptions(
        columns=(
            Column("Phase", "string", ".status.phase"),
            Column("Seen", "integer", ".status.seen", "Inputs so far"),
            Column("Message", "string", ".status.message"),
        )
    )

    spec: InferenceJobSpec
    status: InferenceJobStatus = Field(default_factory=InferenceJobStatus)


def is_current(job):
    return job.status.observed_generation == job.metadata.generation


class InferenceJobs:
    """What `neptune.controllers.tasks.TaskKind` asks for."""

    cls = InferenceJob

    def plan(self, job):
        if is_current(job) and job.status.phase in ("Completed", "Failed"):
            return None  # over: the node gets rid of it, and of the model
        return Plan((job.spec.dataset,), (job.spec.model,), work={"seconds": job.spec.seconds})

    def reported(self, job):
        return reports_of(job.status.nodes) if is_current(job) else {}

    def show(self, job, view, _now):
        before = job.status.phase
        status = job.status = InferenceJobStatus(observed_generation=job.metadata.generation)
        missing = [*view.missing_models, *view.missing_datasets, *view.homeless_datasets]
        status.nodes = [share_of(part) for part in view.parts]
        for share in status.nodes:
            status.phase, status.message = share.state, share.message
            status.seen = int(share.metrics.get("seen", "0"))  # the worker's own counter
        if missing:
            status.message = f"waiting for {', '.join(missing)}"
        return [Note(status.phase, status.message or f"{status.seen} inputs")] if status.phase != before else []

    def outcome(self, job):
        return {job.spec.model: job.status.nodes[0].metrics} if job.status.phase == "Completed" else {}


client = Client()
broker = MqttSettings(url=os.environ.get("BROKER", "mqtt://localhost"), client_id=f"jobs-{os.getpid()}")
cloud = CloudController(
    client, MqttTransport(broker), SystemClock(), topic_prefix=DEFAULT_PREFIX, workers=4, task_kinds=[InferenceJobs()]
)
manager = cloud.manager  # for `neptune rbac inference_jobs`


async def main():
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await cloud.serve(stop)
    finally:
        await client.close()


if __name__ == "__main__":
    asyncio.run(main())
