"""The example on this machine, as `make demo-federated`: three nodes train, one is killed on the way and comes back.

API server and broker are embedded, `cloud-controller` and the three `edge-agent`s are the real programs, and each agent
starts `worker.py` for its part. Whatever ends the demo, they end with it.
"""

import os
import signal

# Ctrl-C while modules load ends it as quietly as later; a KeyboardInterrupt may be lost in the middle of an import.
HANDLER = signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import asyncio
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import yaml
from digits import main as write_digits

from neptune import log
from neptune.api import Dataset, FederatedTask, Model, ResourceKey
from neptune.api.core import Event
from neptune.cli.stage import News, Stage, stage
from neptune.errors import NeptuneError

HERE = Path(__file__).parent
KEY = ResourceKey("default", "digits")
NODES = ("edge0", "edge1", "edge2")
VICTIM = "edge1"
WORKER = shlex.join([sys.executable, str(HERE / "worker.py")])
PATIENCE_SECONDS = 60.0
#: Of the columns NAME, PHASE, PROGRESS, MODEL, REASON, AGE, and of a model's NAME, UPDATEAGE, METRICS, READY, AGE.
TASK_WIDTHS, MODEL_WIDTHS = (9, 12, 11, 9, 20, 5), (9, 12, 80, 8, 5)


class DemoFailed(NeptuneError):
    """Something did not come in time; the text says what was there instead."""


async def play(built: Stage) -> None:
    print("Three nodes learn to read digits, each from samples that never leave it.\n")
    write_digits(built.data)
    await built.install(Dataset, Model, FederatedTask)
    built.start_cloud()
    for node in NODES:
        built.start_node(node, task_command=WORKER)

    print("# kubectl apply -f examples/federated/task.yaml; kubectl get federatedtasks -w")
    text = (HERE / "task.yaml").read_text().replace("/tmp/neptune", str(built.data))
    kinds = {"Dataset": Dataset, "Model": Model, "FederatedTask": FederatedTask}
    for found in yaml.safe_load_all(text):
        found["metadata"]["namespace"] = KEY.namespace
        await built.client.create(kinds[found["kind"]].from_dict(found))
    news = News(TASK_WIDTHS)
    await until(built, news, lambda task: round_of(task, VICTIM) >= 8)

    print(f"# kill -9 the agent of {VICTIM}, and its worker with it")
    built.processes[VICTIM].kill()
    news.print(built.table("federatedtasks"))
    print(f"# start the agent of {VICTIM} again: its worker goes on from the last average")
    built.start_node(VICTIM, task_command=WORKER)
    task = await until(built, news, lambda task: task.status.completion_time is not None)

    print("\n# kubectl get models")
    News(MODEL_WIDTHS).print(built.table("models"))
    print("\n# kubectl describe federatedtask digits")
    for event in await story(built, task.status.phase):
        print(f"  {event.type:<9}{event.reason:<22}{event.note}")
    model = await built.client.get(Model, KEY)
    metrics = {metric.key: metric.value for metric in model.status.metrics}
    if task.status.phase != "Completed" or float(metrics.get("accuracy", 0)) <= 0.9:
        raise DemoFailed(f"phase {task.status.phase}, metrics {metrics}{built.last_words()}")
    print(f"\nOf the samples that no node trained on, {float(metrics['accuracy']):.1%} are read right.")


def round_of(task: FederatedTask, node: str) -> int:
    return max((int(row.metrics.get("round", 0)) for row in task.status.participants if row.node == node), default=0)


async def until(built: Stage, news: News, reached: Callable[[FederatedTask], bool]) -> FederatedTask:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached(task := await built.client.get(FederatedTask, KEY)):
        news.print(built.table("federatedtasks"))
        if time.monotonic() > deadline:
            status = task.status
            raise DemoFailed(f"stuck in {status.phase}: {status.reason} {status.message}{built.last_words()}")
        await asyncio.sleep(0.05)
    news.print(built.table("federatedtasks"))
    return task


async def story(built: Stage, last: str) -> list[Event]:
    """Return the events of the task in their order, once the `last` is there: they are written behind the status."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = await built.client.list(Event, KEY.namespace)
        events = [event for event in found.items if event.regarding.kind == "FederatedTask"]
        if any(event.reason == last for event in events):
            return sorted(events, key=lambda event: event.event_time)
        if time.monotonic() > deadline:
            raise DemoFailed(f"no event {last}{built.last_words()}")
        await asyncio.sleep(0.05)


async def main() -> None:
    # As Ctrl-C does it: everything is left by the way it came.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    with tempfile.TemporaryDirectory(prefix="neptune-demo-") as folder:
        async with stage(Path(folder)) as built:
            await play(built)


if __name__ == "__main__":
    log.configure(level="error")
    signal.signal(signal.SIGINT, HANDLER)
    try:
        asyncio.run(main())
    except NeptuneError as error:
        sys.exit(f"demo: {error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
