"""Ingest: what a cache costs. Restart with many objects, memory an object, watch events a CPU-second.

`restart` is from the start of the process until the first list is in. Memory an object is what is resident some seconds
later, less what is with one object. A server made for it sends what was made beforehand (`feeder`), so that the
contestant alone is measured; `--real` takes the restart from a real API server instead.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.contestants import Contestant, Running, chosen, controller_runtime, python
from benchmarks.feeder import Feeder
from benchmarks.rows import Row, print_rows
from benchmarks.stage import Stage

EVENTS = 100_000
#: A garbage collector gives memory back some time after the burst.
SETTLE_SECONDS = 3
CONTESTANTS = (
    python("neptune", "ingest_neptune.py"),
    controller_runtime("-cache"),
    python("official client", "ingest_official.py"),
)


async def main(number: int, only: str, *, real: bool) -> None:
    contestants = chosen(CONTESTANTS, only)
    if real:
        rows = await restart_all(contestants, number)
    else:
        rows = [each.missing or await measure(each, number) for each in contestants]
    columns = ("restart_cpu_seconds", "restart_seconds", "bytes_an_object", "peak_mb", "events_per_cpu_second")
    print_rows("restart" if real else "ingest", rows, columns, to=("controller-runtime", "official client"))


async def measure(contestant: Contestant, number: int) -> Row:
    alone = await fed(contestant, 1, 1)
    full = await fed(contestant, number, EVENTS)
    return {
        "contestant": contestant.name,
        "objects": number,
        "restart_seconds": round(full["seconds"], 2),
        "restart_cpu_seconds": round(full["cpu"], 2),
        "bytes_an_object": round((full["resident"] - alone["resident"]) / number),
        "peak_mb": round(full["peak"] / 1e6, 1),
        "events_per_cpu_second": round(EVENTS / full["events_cpu"]),
    }


async def fed(contestant: Contestant, number: int, events: int) -> dict[str, float]:
    """Return what the contestant takes for that many objects, and then for that many events."""
    with tempfile.TemporaryDirectory(prefix="neptune-bench-") as name:
        folder = Path(name)
        async with Feeder(number, events) as feeder:
            with Running(contestant, feeder.write_kubeconfig(folder / "kubeconfig"), folder) as running:
                await running.has_said("synced")
                found = {"seconds": time.monotonic() - running.began, "cpu": running.cpu_seconds}
                found["peak"] = running.memory_bytes()
                await asyncio.sleep(SETTLE_SECONDS)
                found["resident"], before = running.memory_bytes("VmRSS"), running.cpu_seconds
                feeder.send()
                await running.has_said("done")
                return {**found, "events_cpu": running.cpu_seconds - before}


async def restart_all(contestants: list[Contestant], number: int) -> list[Row]:
    """Return the restarts in front of a real API server, all in front of the same one: none of them writes."""
    with Stage() as stage:
        async with stage.client():
            await stage.fill(number)
            # The official client has no list of its own that could be complete.
            able = [each for each in contestants if each.name != "official client"]
            return [each.missing or await restart(stage, each, number) for each in able]


async def restart(stage: Stage, contestant: Contestant, number: int) -> Row:
    with Running(contestant, stage.kubeconfig, stage.folder) as running:
        await running.has_said("synced")
        return {
            "contestant": contestant.name,
            "objects": number,
            "restart_seconds": round(time.monotonic() - running.began, 2),
            "restart_cpu_seconds": round(running.cpu_seconds, 2),
            "peak_mb": round(running.memory_bytes() / 1e6, 1),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--only", default="", help="the names of some contestants, with commas between")
    parser.add_argument("--real", action="store_true", help="measure the restart in front of a real API server")
    options = parser.parse_args()
    asyncio.run(main(options.objects, options.only, real=options.real))
