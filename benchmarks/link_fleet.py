"""A thousand nodes on one broker with its default limits, and a real API server: what a start of the controller costs.

first: the nodes are connected and have nothing, and the controller starts; until the API server has the status of each
Dataset. restart: the controller is killed, one Dataset of each node changes, the controller starts again; until the API
server has every new number. roll call: from such a start until the controller takes all nodes for online and each has
synchronised with it. Lost are statuses that the API server has otherwise than the nodes in the end, and reports that
wait for an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Self

from benchmarks.agent_budget import broker
from benchmarks.fleet import STEP, State, dataset_name, first_number, is_changed, node_name
from benchmarks.processes import resident_mb
from benchmarks.rows import Row, print_rows
from benchmarks.stage import NAMESPACE, Stage
from benchmarks.statuses import PATIENCE_SECONDS, Followed
from neptune.api import Dataset
from neptune.api.meta import Json
from neptune.runtime import Client
from neptune.runtime.http import ApiSession
from neptune.testing.processes import free_port

#: How often states are asked for (seconds).
POLL_SECONDS = 0.1
_CONNECTIONS = 32


class Numbers(Followed):
    """Which Datasets have the number that they should, from a node that is there."""

    def __init__(self, client: Client, numbers: dict[str, int]) -> None:
        super().__init__(client)
        self.wanted = numbers
        self._seen: dict[str, tuple[int | None, bool]] = {}
        self.wrong: set[str] = set()
        #: How many statuses were written.
        self.writes = 0

    def want(self, numbers: dict[str, int]) -> None:
        self.wanted = numbers
        self.wrong = {name for name in numbers if not self._is_right(name)}

    async def until_right(self) -> float:
        """Wait until all are, and return when that was."""
        await self._wait_for(lambda: not self.wrong)
        return time.monotonic()

    def _take(self, dataset: Json) -> None:
        name, status = dataset["metadata"]["name"], dataset.get("status", {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
        self.writes += bool(status)
        self._seen[name] = status.get("numberOfSamples"), set(conditions.values()) == {"True"}
        (self.wrong.discard if self._is_right(name) else self.wrong.add)(name)

    def _is_right(self, name: str) -> bool:
        return self._seen.get(name) == (self.wanted[name], True)


class Fleet:
    """The process of the nodes."""

    def __init__(self, nodes: int, port: int) -> None:
        argv = [sys.executable, "-m", "benchmarks.fleet", "--nodes", str(nodes), "--port", str(port)]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    async def change(self, round_: int) -> None:
        await asyncio.to_thread(self._say, f"change {round_}")

    async def state(self) -> State:
        return State(**json.loads(await asyncio.to_thread(self._ask, "state")))

    async def until(self, holds: Callable[[State], bool]) -> float:
        async def check() -> bool:
            return holds(await self.state())

        return await _until(check)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def _say(self, words: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()

    def _ask(self, words: str) -> str:
        self._say(words)
        assert self._process.stdout
        return self._process.stdout.readline()


class Cloud:
    """A `cloud-controller` as users start it. It ends by a kill."""

    def __init__(self, stage: Stage, port: int) -> None:
        self._listen = f"127.0.0.1:{free_port()}"
        argv = ["--kubeconfig", str(stage.kubeconfig), "--broker", f"mqtt://127.0.0.1:{port}", "--listen", self._listen]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        program = Path(sys.executable).with_name("cloud-controller")
        self.log = stage.folder / f"cloud-{self._listen}.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen([str(program), *argv], stderr=log, env=environ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(30)

    def memory(self) -> tuple[float, float]:
        return resident_mb(self._process.pid)

    async def until_online(self, nodes: int) -> float:
        """Wait until it takes so many nodes for online, and return when that was."""

        async def check() -> bool:
            return (await asyncio.to_thread(self.metrics)).get('neptune_nodes{state="online"}') == nodes

        return await _until(check)

    def metrics(self) -> dict[str, float]:
        """Return its series, or none while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://{self._listen}/metrics", timeout=30) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


async def main(nodes: int, datasets: int) -> None:
    numbers = {name: first_number(name) for node in range(nodes) for name in _names(node, datasets)}
    with Stage() as stage, broker() as running:
        async with stage.client() as client, Numbers(client, numbers) as seen:
            await _fill(stage, nodes, datasets)
            with Fleet(nodes, running.port) as fleet:
                await fleet.until(lambda state: state.connected == nodes)
                first = await _measure_start(stage, running.port, fleet, seen, nodes)
                await fleet.change(0)
                seen.want({name: number + STEP * is_changed(name, 0) for name, number in seen.wanted.items()})
                restart = await _measure_start(stage, running.port, fleet, seen, nodes)
                lost = await _lost(client, fleet, seen.wanted)
    row = {**{f"first_{name}": value for name, value in first.items()}, **restart, **lost}
    print_rows("link", [{"contestant": f"{nodes} nodes with {datasets} datasets", **row}], (), to=())


async def _measure_start(stage: Stage, port: int, fleet: Fleet, seen: Numbers, nodes: int) -> Row:
    before, writes = await fleet.state(), seen.writes
    began = time.monotonic()
    with Cloud(stage, port) as cloud:
        online, synced, right = await asyncio.gather(
            cloud.until_online(nodes),
            fleet.until(lambda state: state.epoch > before.epoch and state.synced == nodes),
            seen.until_right(),
        )
        settled = await fleet.until(lambda state: not state.unconfirmed)
        now, peak = cloud.memory()
        metrics = cloud.metrics()
    return {
        "roll_call_seconds": round(max(online, synced) - began, 1),
        "statuses_seconds": round(right - began, 1),
        "settled_seconds": round(settled - began, 1),
        "status_writes": seen.writes - writes,
        "mb": now,
        "peak_mb": peak,
        "dropped": sum(value for series, value in metrics.items() if "dropped_messages_total" in series),
        "given_up": metrics['neptune_link_publishes_total{outcome="disconnected"}'],
    }


async def _lost(client: Client, fleet: Fleet, wanted: dict[str, int]) -> Row:
    state = await fleet.state()
    items = (await client.list(Dataset, NAMESPACE)).items
    wrong = [item for item in items if item.status.number_of_samples != wanted[item.metadata.name]]
    return {
        "lost": len(wrong) + len(wanted) - len(items) + state.unconfirmed,
        "node_connections": state.connections,
    }


async def _until(holds: Callable[[], Awaitable[bool]]) -> float:
    """Ask until the answer is yes, and return when that was."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await holds():  # noqa: ASYNC110  # what is awaited is in other processes
            await asyncio.sleep(POLL_SECONDS)
    return time.monotonic()


def _names(node: int, datasets: int) -> list[str]:
    return [dataset_name(node, each) for each in range(datasets)]


async def _fill(stage: Stage, nodes: int, datasets: int) -> None:
    """Create the Datasets, over several connections."""
    session = ApiSession(stage.kubeconfig)
    bodies = iter([_body(node, name) for node in range(nodes) for name in _names(node, datasets)])

    async def create() -> None:
        for body in bodies:
            await session.request("POST", Dataset.resource.path(NAMESPACE), body=body)

    try:
        await asyncio.gather(*(create() for _ in range(_CONNECTIONS)))
    finally:
        await session.close()


def _body(node: int, name: str) -> bytes:
    document: dict[str, Any] = {
        "apiVersion": Dataset.resource.api_version,
        "kind": Dataset.resource.kind,
        "metadata": {"name": name},
        "spec": {"url": f"/data/{name}.txt", "format": "txt", "nodeName": node_name(node)},
    }
    return json.dumps(document).encode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--datasets", type=int, default=10)
    options = parser.parse_args()
    asyncio.run(main(options.nodes, options.datasets))
