"""Real programs, a real broker and a real API server, with a network between them that breaks and users in a hurry.

Everything random comes from one seed. What the machine does with it differs from run to run: this proves less than the
simulation about any one order of events, and more about the parts.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import yaml

from neptune.api import (
    Dataset,
    DatasetSpec,
    FederatedTask,
    FederatedTaskSpec,
    Model,
    ModelReference,
    ModelSpec,
    ObjectMeta,
    Participant,
    ResourceKey,
)
from neptune.edge.store import stored_uids
from neptune.runtime import ApiError, Client
from neptune.testing.processes import Process
from tests.integration.world import World
from tests.support.proxy import Proxy

NODES = ("edge0", "edge1")
#: How long after the last fault everything may take to agree (seconds): after many faults a program connects anew
#: within two minutes (`RetryPolicy`), and a question is repeated within a minute.
PATIENCE = 240.0
#: How long a fault lasts at most (seconds).
FAULT_SECONDS = 2.0
FILES = 12

#: Takes its time, and goes on trying while the disk is full.
WORKER = """
report() {
    until printf '{"state":"%s","metrics":{"done":1}}' "$1" > reports/.tmp &&
        mv reports/.tmp "reports/$(date +%s%N).json"
    do sleep 0.1; done 2>/dev/null
}
report Running
sleep 0.3
report Completed
"""


def random_of_the_run() -> Random:
    """Return the source of all that is random; NEPTUNE_CHAOS_SEED repeats a run, as far as the machine does."""
    return Random(int(os.environ.get("NEPTUNE_CHAOS_SEED", "1")))  # noqa: S311  # a schedule, no secret


@dataclass
class Ruins(World):
    """A world whose programs reach broker and API server through proxies."""

    to_broker: int = 0
    cloud_kubeconfig: Path = Path()

    @property
    def broker_url(self) -> str:
        return f"mqtt://127.0.0.1:{self.to_broker}"

    def start_cloud(self, *flags: str, name: str = "cloud-controller") -> Process:
        return self._start(
            name, "cloud-controller", "--kubeconfig", str(self.cloud_kubeconfig),
            "--namespace", self.namespace, *flags,
        )  # fmt: skip

    def start_edge(self, node: str, *flags: str) -> Process:
        worker = self.folder / "worker.sh"
        worker.write_text(WORKER)
        return super().start_edge(node, "--task-command", shlex.join(["sh", str(worker)]), *flags)

    def start_again(self, name: str) -> None:
        if name == "cloud-controller":
            self.start_cloud()
        else:
            self.start_edge(name)


def through(kubeconfig: Path, proxy: Proxy, target: Path) -> Path:
    """Write a kubeconfig that reaches the same server through a proxy."""
    config = yaml.safe_load(kubeconfig.read_text())
    for cluster in config["clusters"]:
        cluster["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
    target.write_text(yaml.safe_dump(config))
    return target


@dataclass
class Havoc:
    """Users and faults. `disk` fills the state of the first node, where there is such a disk."""

    world: Ruins
    client: Client
    api: Proxy
    broker: Proxy
    rng: Random
    disk: Path | None
    changes: int = 0
    tasks: int = 0
    told: list[str] = field(default_factory=list)

    async def run(self, faults: int, changes_each: int) -> None:
        """Do so many things, with users at work before, during and after each."""
        actions: list[Callable[[], Awaitable[None]]] = [
            self.kill, self.kill, self.stop, self.stop, self.cut, self.cut,
            self.black_hole, self.kill_broker, self.fill,
        ]  # fmt: skip
        for number in range(faults):
            # Each kind comes once before any is left to chance.
            action = actions[number * 2 % len(actions)] if number < len(actions) else self.rng.choice(actions)
            await asyncio.gather(action(), self.create_task(), self.work(changes_each))

    async def work(self, changes: int) -> None:
        """Change datasets and files as users do; one whose request fails goes on with the next."""
        habits = (self.create, self.edit, self.edit, self.write, self.write, self.write, self.delete)
        for _ in range(changes):
            self.changes += 1
            with suppress(ApiError):
                await self.rng.choice(habits)()

    # Users

    async def begin(self) -> None:
        """Create what tasks work on: a dataset of each node, which is nobody else's business."""
        for node in NODES:
            spec = DatasetSpec(url=self.a_path(), format="txt", node_name=node)
            meta = ObjectMeta(namespace=self.world.namespace, name=f"of-{node}")
            await self.client.create(Dataset(metadata=meta, spec=spec))

    async def create_task(self) -> None:
        """Create a task on both nodes, with a Model of its own."""
        self.tasks += 1
        meta = ObjectMeta(namespace=self.world.namespace, name=f"t{self.tasks}")
        spec = FederatedTaskSpec(
            model=ModelReference(name=meta.name), participants=[Participant(dataset=f"of-{node}") for node in NODES]
        )
        with suppress(ApiError):
            await self.client.create(Model(metadata=meta, spec=ModelSpec(url="/models/m.npz", format="npz")))
            await self.client.create(FederatedTask(metadata=meta, spec=spec))

    async def create(self) -> None:
        spec = DatasetSpec(url=self.a_path(), format="txt", node_name=self.rng.choice(NODES))
        name = f"d{self.rng.randrange(60)}"
        await self.client.create(Dataset(metadata=ObjectMeta(namespace=self.world.namespace, name=name), spec=spec))

    async def edit(self) -> None:
        dataset = await self.client.get(Dataset, ResourceKey(self.world.namespace, f"d{self.rng.randrange(60)}"))
        if self.rng.random() < 0.5:
            dataset.spec.url = self.a_path()
        else:
            dataset.spec.node_name = self.rng.choice(NODES)
        await self.client.patch(dataset)

    async def delete(self) -> None:
        if self.rng.random() < 0.3:
            await self.client.delete(Dataset, ResourceKey(self.world.namespace, f"d{self.rng.randrange(60)}"))

    async def write(self) -> None:
        await asyncio.sleep(0)
        self.write_file()

    def write_file(self) -> None:
        path, lines = Path(self.a_path()), "line\n" * self.rng.randrange(5)
        match self.rng.randrange(4):
            case 0:
                path.write_text(lines)
            case 1:
                path.unlink(missing_ok=True)
                path.write_text(lines)
            case 2:
                with path.open("r+") as file:
                    file.truncate(0)
            case _:
                with path.open("a") as file:
                    file.write(lines)

    # Faults

    async def kill(self) -> None:
        name = self.a_program()
        self.tell(f"kill -9 {name}")
        self.world.processes[name].kill()
        await self.wait()
        self.world.start_again(name)

    async def stop(self) -> None:
        name = self.a_program()
        self.tell(f"SIGSTOP {name}")
        self.world.processes[name].signal(signal.SIGSTOP)
        await self.wait()
        self.world.processes[name].signal(signal.SIGCONT)

    async def cut(self) -> None:
        self.tell("cut")
        await self.rng.choice((self.api, self.broker)).cut()

    async def black_hole(self) -> None:
        """Let packets vanish; then the connection breaks, or what was on its way comes after all."""
        proxy = self.rng.choice((self.api, self.broker))
        self.tell("black hole")
        proxy.black_hole()
        await self.wait()
        if self.rng.random() < 0.5:
            await proxy.cut()
        proxy.flow()

    async def kill_broker(self) -> None:
        self.tell("kill -9 mosquitto")
        self.world.broker.kill()
        await self.wait()
        await asyncio.to_thread(self.world.broker.start)

    async def fill(self) -> None:
        """Fill the disk under the state of a node."""
        if self.disk is None:
            return
        self.tell("disk full")
        filler = self.disk / "filler"
        fill_up(filler)
        await self.wait()
        filler.unlink()

    # The end

    async def agree(self) -> None:
        """Wait until API server, nodes and files say the same."""
        deadline = time.monotonic() + PATIENCE
        while differences := await self.differences():
            assert time.monotonic() < deadline, "\n".join([*differences[:10], *self.told])
            await asyncio.sleep(0.25)

    async def differences(self) -> list[str]:
        datasets = (await self.client.list(Dataset, self.world.namespace)).items
        found = [text for dataset in datasets if (text := difference(dataset))]
        for node in NODES:
            wanted = {dataset.metadata.uid for dataset in datasets if dataset.spec.node_name == node}
            stored = stored_uids(self.world.folder / node)
            if wanted != stored:
                found.append(f"{node} lacks {len(wanted - stored)} objects and has {len(stored - wanted)} too many")
        return [*found, *await self.open_tasks()]

    async def open_tasks(self) -> list[str]:
        """Return what is lacking of tasks: each has to be complete, and its Model to have what the workers measured."""
        namespace = self.world.namespace
        tasks = (await self.client.list(FederatedTask, namespace)).items
        models = {model.metadata.name: model for model in (await self.client.list(Model, namespace)).items}
        found = [] if tasks else ["no task could be created"]
        for task in tasks:
            status, metrics = task.status, models[task.spec.model.name].status.metrics
            measured = {each.key: each.value for each in metrics}
            if status.phase != "Completed" or measured != {"done": "1.0"}:
                found.append(f"{task.key} is {status.phase} ({status.reason}: {status.message}), its model {measured}")
        return found

    # Words

    def a_path(self) -> str:
        return str(self.world.data / f"{self.rng.randrange(FILES)}.txt")

    def a_program(self) -> str:
        return self.rng.choice(["cloud-controller", *NODES])

    def tell(self, what: str) -> None:
        self.told.append(what)

    async def wait(self) -> None:
        await asyncio.sleep(FAULT_SECONDS * self.rng.random())


def fill_up(filler: Path) -> None:
    """Write until there is no room."""
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def difference(dataset: Dataset) -> str:
    """Return what of a status is not as the file has it, or an empty text."""
    lines = Path(dataset.spec.url).read_text().splitlines()
    wanted = (dataset.metadata.generation, len(lines), {"Ready": "True", "Synced": "True", "NodeOnline": "True"})
    status = dataset.status
    conditions = {condition.type: condition.status for condition in status.conditions}
    found = (status.observed_generation, status.number_of_samples, conditions)
    return "" if found == wanted else f"{dataset.key} of {dataset.spec.node_name} has {json.dumps(found)}, not {wanted}"
