"""Fairness: edits made while the objects that were there at the start are being worked off.

The contestants of the storm with many objects; each fifth of a second one is drawn at random from all of them, whether
or not it had its turn already, and edited. The reaction is from the edit's event until that of its status: a busy API
server takes some time for the edit itself, which is no contestant's fault.
"""

from __future__ import annotations

import argparse
import asyncio
import random

from benchmarks.contestants import Contestant, Running, chosen, controller_runtime, of_the_storm
from benchmarks.rows import Row, milliseconds, print_rows
from benchmarks.stage import Stage
from benchmarks.statuses import Statuses

#: Edits begin when this share of the work is done, and the last one begins before this share is.
FROM, TO = 0.05, 0.8
EVERY_SECONDS = 0.2


async def main(number: int, only: str) -> None:
    first_in_first_out = controller_runtime("-priorities=false", name="controller-runtime without priorities")
    contestants = chosen([*of_the_storm(), first_in_first_out], only)
    rows = [each.missing or await measure(each, number) for each in contestants]
    print_rows("fairness", rows, ("reaction_p50_ms", "reaction_p99_ms"), to=("controller-runtime", "kopf"))


async def measure(contestant: Contestant, number: int) -> Row:
    names = [f"dataset-{index}" for index in range(number)]
    random.Random(number).shuffle(names)  # noqa: S311  # the same draw for each contestant
    with Stage() as stage:
        async with stage.client() as client:
            await stage.fill(number)
            async with Statuses(client) as statuses:
                with Running(contestant, stage.kubeconfig, stage.folder) as running:
                    await running.until(lambda: statuses.correct >= FROM * number, "begin")
                    pending = []
                    while statuses.correct < TO * number:
                        pending.append(asyncio.create_task(statuses.edit(names.pop())))
                        await asyncio.sleep(EVERY_SECONDS)
                    edits = await asyncio.gather(*pending)
                    return {
                        "contestant": contestant.name,
                        "objects": number,
                        "edits": len(edits),
                        **milliseconds("edit", [edit.total for edit in edits]),
                        **milliseconds("reaction", [edit.reaction for edit in edits]),
                    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--only", default="", help="the names of some contestants, with commas between")
    options = parser.parse_args()
    asyncio.run(main(options.objects, options.only))
