"""What a user waits for: real `cloud-controller`, `edge-agent`, API server and mosquitto on this machine.

create: from the creation of a Dataset with one small file to its number. edit: from an edit of its url to the number
of the other file. append: from a line that is appended to its file to the new number. burst: from the first of 500
creations for one node to the last number. All ends are those that a watch of the API server tells.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from benchmarks.agent_budget import broker
from benchmarks.processes import cpu_seconds
from benchmarks.rows import Row, milliseconds, print_rows
from benchmarks.stage import NAMESPACE, Stage
from benchmarks.statuses import Followed
from neptune.api import Dataset, DatasetSpec, ObjectMeta, ResourceKey
from neptune.api.meta import Json
from neptune.runtime import Client, Conflict

NODE = "edge0"


class Numbers(Followed):
    """The numbers of samples."""

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self._numbers: dict[str, int | None] = {}
        #: How many statuses were written.
        self.writes = 0

    async def until(self, numbers: dict[str, int]) -> float:
        """Wait for these numbers, and return when the last one came."""
        await self._wait_for(lambda: numbers.items() <= self._numbers.items())
        return time.monotonic()

    def _take(self, dataset: Json) -> None:
        status = dataset.get("status", {})
        self.writes += bool(status)
        self._numbers[dataset["metadata"]["name"]] = status.get("numberOfSamples")


async def main(rounds: int, burst: int) -> None:
    with Stage() as stage, broker() as running:
        data = stage.folder / "data"
        data.mkdir()
        async with stage.client() as client, _programs(stage, running.port, data), Numbers(client) as numbers:
            await _create(client, data, "warm", 1)
            await numbers.until({"warm": 1})
            rows = [
                await _measure_create(client, numbers, data, rounds),
                await _measure_edit(client, numbers, data, rounds),
                await _measure_append(numbers, data, rounds),
                await _measure_burst(client, numbers, data, burst),
            ]
    print_rows("link", rows, (), to=())


async def _measure_create(client: Client, numbers: Numbers, data: Path, rounds: int) -> Row:
    took = []
    for index in range(rounds):
        _file(data, f"create-{index}", 3)
    for index in range(rounds):
        began = time.monotonic()
        await _create(client, data, f"create-{index}", 3)
        took.append(await numbers.until({f"create-{index}": 3}) - began)
    return {"contestant": "create", **milliseconds("seen", took)}


async def _measure_edit(client: Client, numbers: Numbers, data: Path, rounds: int) -> Row:
    took = []
    others = [_file(data, f"other-{index}", 100 + index) for index in range(rounds)]
    for index, other in enumerate(others):
        began = time.monotonic()
        await _point(client, f"create-{index}", other)
        took.append(await numbers.until({f"create-{index}": 100 + index}) - began)
    return {"contestant": "edit", **milliseconds("seen", took)}


async def _measure_append(numbers: Numbers, data: Path, rounds: int) -> Row:
    took = []
    for index in range(rounds):
        began = time.monotonic()
        with (data / f"other-{index}").open("a") as file:
            file.write("one more\n")
        took.append(await numbers.until({f"create-{index}": 101 + index}) - began)
    return {"contestant": "append", **milliseconds("seen", took)}


async def _measure_burst(client: Client, numbers: Numbers, data: Path, number: int) -> Row:
    names = [f"burst-{index}" for index in range(number)]
    for name in names:
        _file(data, name, 2)
    used, writes = cpu_seconds(), numbers.writes
    began = time.monotonic()
    gate = asyncio.Semaphore(16)

    async def create(name: str) -> None:
        async with gate:
            await _create(client, data, name, 2)

    await asyncio.gather(*map(create, names))
    created = time.monotonic()
    ended = await numbers.until(dict.fromkeys(names, 2))
    spent = {name: round(seconds - used.get(name, 0.0), 2) for name, seconds in cpu_seconds().items()}
    return {
        "contestant": f"burst of {number}",
        "seconds": round(ended - began, 2),
        "creating_seconds": round(created - began, 2),
        "status_writes": numbers.writes - writes,
        "cpu_seconds": {name: seconds for name, seconds in spent.items() if seconds},
    }


async def _create(client: Client, data: Path, name: str, samples: int) -> None:
    path = data / name if (data / name).exists() else _file(data, name, samples)
    spec = DatasetSpec(url=str(path), format="txt", node_name=NODE)
    await client.create(Dataset(metadata=ObjectMeta(name=name, namespace=NAMESPACE), spec=spec))


async def _point(client: Client, name: str, path: Path) -> None:
    while True:
        dataset = await client.get(Dataset, ResourceKey(NAMESPACE, name))
        dataset.spec.url = str(path)
        with contextlib.suppress(Conflict):  # its status was written in between
            await client.patch(dataset)
            return


def _file(data: Path, name: str, samples: int) -> Path:
    path = data / name
    path.write_text("a sample\n" * samples)
    return path


@contextlib.asynccontextmanager
async def _programs(stage: Stage, port: int, data: Path) -> AsyncIterator[None]:
    address = ("--broker", f"mqtt://127.0.0.1:{port}")
    cloud = ("cloud-controller", "--kubeconfig", str(stage.kubeconfig), *address)
    state = stage.folder / "state"
    edge = ("edge-agent", "--node", NODE, "--root", str(data), "--state-dir", str(state), *address)
    running = [_start(stage.folder, argv) for argv in (cloud, edge)]
    try:
        yield
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(30)


def _start(folder: Path, argv: Sequence[str]) -> subprocess.Popen[bytes]:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with (folder / f"{argv[0]}.log").open("wb") as log:
        return subprocess.Popen([str(Path(sys.executable).with_name(argv[0])), *argv[1:]], stderr=log, env=environ)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--burst", type=int, default=500)
    options = parser.parse_args()
    asyncio.run(main(options.rounds, options.burst))
