"""Fairness: edits made while the objects that were there at the start are being worked off.

The contestants of the storm with many objects; each edit is timed, one at a time, from its request until its status
follows. What is edited is drawn at random from all objects, whether or not they had their turn already.
"""

from __future__ import annotations

import argparse
import asyncio
import random

from benchmarks.contestants import Contestant, Running, chosen, controller_runtime, of_the_storm
from benchmarks.rows import Row, milliseconds, print_rows
from benchmarks.stage import NAMESPACE, Stage
from benchmarks.statuses import Statuses

#: Edits begin when this share of the work is done, and the last one begins before this share is.
FROM, TO = 0.05, 0.8


async def main(number: int, only: str) -> None:
    first_in_first_out = controller_runtime("-priorities=false", name="controller-runtime without priorities")
    contestants = chosen([*of_the_storm(), first_in_first_out], only)
    rows = [each.missing or await measure(each, number) for each in contestants]
    print_rows("fairness", rows, ("edit_p50_ms", "edit_p99_ms"), to=("controller-runtime", "kopf"))


async def measure(contestant: Contestant, number: int) -> Row:
    rng = random.Random(number)  # noqa: S311  # the same draw for each contestant
    edits: list[float] = []
    with Stage() as stage:
        async with stage.client() as client:
            await stage.fill(number)
            async with Statuses(client) as statuses:
                with Running(contestant, stage.kubeconfig, stage.folder) as running:
                    await running.until(lambda: statuses.correct >= FROM * number, "begin")
                    while not edits or statuses.correct < TO * number:
                        edits.append(await statuses.edit(f"dataset-{rng.randrange(number)}", NAMESPACE))
                    return {
                        "contestant": contestant.name,
                        "objects": number,
                        "edits": len(edits),
                        **milliseconds(edits),
                        "worst_ms": round(max(edits) * 1000, 1),
                    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--only", default="", help="the names of some contestants, with commas between")
    options = parser.parse_args()
    asyncio.run(main(options.objects, options.only))
