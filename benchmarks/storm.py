"""Storm: 2000 Datasets without status on a real API server, then 100 edits one at a time.

From the start of a contestant's process until every status is set, and for each edit until its status follows.
Prints one JSON row a contestant; ratios are to the first one that ran, in the same run. Contestants run in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rows import print_rows
from benchmarks.stage import Stage
from neptune.api import Dataset, ResourceKey
from neptune.api.meta import Json
from neptune.runtime import Client, Query

HERE = Path(__file__).parent
EDITS = 100
NAMESPACE = "default"


@dataclass(frozen=True, slots=True)
class Contestant:
    name: str
    argv: list[str]


def contestants(wanted: str) -> list[Contestant]:
    """Return those that can run here: kopf and controller-runtime only where `make bench` has installed them."""
    python = sys.executable
    kopf = HERE.parent / ".cache" / "peers" / "bin" / "kopf"
    built = HERE / ".build" / "storm-controller-runtime"
    found = [Contestant("neptune", [python, str(HERE / "storm_neptune.py")])]
    found.append(Contestant("official client", [python, str(HERE / "storm_official.py")]))
    if kopf.exists():
        found.append(Contestant("kopf", [str(kopf), "run", "--all-namespaces", "-q", str(HERE / "storm_kopf.py")]))
    if built.exists():
        found.append(Contestant("controller-runtime", [str(built)]))
    return [each for each in found if not wanted or each.name == wanted]


async def main(number: int, wanted: str) -> None:
    with Stage() as stage:
        async with stage.client() as client:
            rows = [await measure(stage, client, each, number) for each in contestants(wanted)]
    print_rows("storm", rows, ratios=("cpu_seconds", "seconds", "edit_p99_ms", "peak_mb"))


async def measure(stage: Stage, client: Client, contestant: Contestant, number: int) -> dict[str, object]:
    await stage.fill(client, number)
    statuses = Statuses(client)
    async with statuses:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        log = stage.folder / f"{contestant.name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: ASYNC220 - starting is not what is measured
                contestant.argv, env={**os.environ, "KUBECONFIG": str(stage.kubeconfig)}, stdout=output, stderr=output
            )
        try:
            try:
                await statuses.wait_for(lambda: statuses.correct == number)
            except TimeoutError:
                raise SystemExit(
                    f"{contestant.name} set {statuses.correct} of {number}:\n{log.read_text()[-2000:]}"
                ) from None
            seconds = time.monotonic() - began
            peak = memory_mb(process.pid)
            latencies = [await edit(client, statuses, index) for index in range(EDITS)]
        finally:
            process.terminate()
            process.wait(30)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return {
        "contestant": contestant.name,
        "objects": number,
        "cpu_seconds": round(cpu, 2),
        "seconds": round(seconds, 2),
        "edit_p50_ms": round(statistics.median(latencies) * 1000, 1),
        "edit_p99_ms": round(sorted(latencies)[int(len(latencies) * 0.99) - 1] * 1000, 1),
        "peak_mb": round(peak, 1),
    }


async def edit(client: Client, statuses: Statuses, index: int) -> float:
    """Change one url and return the seconds until its status follows."""
    dataset = await client.get(Dataset, ResourceKey(NAMESPACE, f"dataset-{index}"))
    dataset.spec.url += "x"
    wanted = len(dataset.spec.url)
    began = time.monotonic()
    await client.patch(dataset)
    await statuses.wait_for(lambda: statuses.numbers.get(dataset.metadata.name) == wanted)
    return time.monotonic() - began


def memory_mb(pid: int) -> float:
    """Return the peak resident memory of a process, in MB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmHWM"))


class Statuses:
    """What a watch of its own says of the statuses; the contestant is not asked."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.numbers: dict[str, int | None] = {}
        self._right: set[str] = set()
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def correct(self) -> int:
        """How many statuses are right."""
        return len(self._right)

    async def __aenter__(self) -> None:
        page = await self._client.list(Dataset, NAMESPACE)
        for dataset in page.items:
            self._take(dataset.to_dict())
        self._task = asyncio.create_task(self._watch(page.metadata.resource_version))

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    async def _watch(self, version: str) -> None:
        while True:
            async with self._client.watch(Query(Dataset, NAMESPACE), version) as events:
                async for event in events:
                    version = event.object["metadata"]["resourceVersion"]
                    if event.type != "BOOKMARK":
                        self._take(event.object)

    def _take(self, dataset: Json) -> None:
        name = dataset["metadata"]["name"]
        length, number = len(dataset["spec"]["url"]), dataset.get("status", {}).get("numberOfSamples")
        was_right, is_right = name in self._right, number == length
        self.numbers[name] = number
        if was_right != is_right:
            (self._right.add if is_right else self._right.discard)(name)
        self._changed.set()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--only", default="", help="the name of one contestant")
    options = parser.parse_args()
    asyncio.run(main(options.objects, options.only))
