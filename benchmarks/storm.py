"""Storm: Datasets without status on a real API server, then 100 edits one at a time.

From the start of a contestant's process until every status is set, and for each edit until its status follows. Each
contestant has a new API server. Prints one JSON row a contestant, with ratios to peers of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import time

from benchmarks.contestants import Contestant, Running, chosen, of_the_storm
from benchmarks.rows import Row, milliseconds, print_rows
from benchmarks.stage import Stage
from benchmarks.statuses import Statuses

EDITS = 100


async def main(number: int, only: str) -> None:
    rows = [each.missing or await measure(each, number) for each in chosen(of_the_storm(), only)]
    columns = ("cpu_seconds", "seconds", "edit_p99_ms", "peak_mb")
    print_rows("storm", rows, columns, to=("controller-runtime", "kopf"))


async def measure(contestant: Contestant, number: int) -> Row:
    with Stage() as stage:
        async with stage.client() as client:
            await stage.fill(number)
            async with Statuses(client) as statuses:
                with Running(contestant, stage.kubeconfig, stage.folder) as running:
                    await running.until(lambda: statuses.correct == number, "set every status")
                    seconds = time.monotonic() - running.began
                    filled = running.cpu_seconds
                    edits = [(await statuses.edit(f"dataset-{index}")).total for index in range(EDITS)]
                    return {
                        "contestant": contestant.name,
                        "objects": number,
                        "cpu_seconds": round(running.cpu_seconds, 2),
                        "cpu_seconds_before_edits": round(filled, 2),
                        "seconds": round(seconds, 2),
                        **milliseconds("edit", edits),
                        "peak_mb": round(running.memory_bytes() / 1e6, 1),
                    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=2000, help="2000, 10000 and 50000 are the documented ones")
    parser.add_argument("--only", default="", help="the names of some contestants, with commas between")
    options = parser.parse_args()
    asyncio.run(main(options.objects, options.only))
