"""Whatever breaks, cloud, nodes and files agree some time after it stopped, and every task is complete.

`make test` runs a short form, `make chaos` a long one with a new seed each time; NEPTUNE_CHAOS_SEED repeats one.
"""

from __future__ import annotations

import os
import sys

from tests.chaos.havoc import Havoc

#: Of one round: every kind of fault once.
FAULTS = 9


async def test_everything_agrees_after_real_faults(havoc: Havoc) -> None:
    # The long form makes thousands of changes a round, so that users are at work for as long as each fault lasts.
    await havoc.begin()
    rounds, changes_each = setting("ROUNDS", 1), setting("CHANGES", 40)
    for number in range(1, rounds + 1):
        await havoc.run(FAULTS, changes_each)
        await havoc.agree()
        done = f"{havoc.changes} changes, {havoc.tasks} tasks, {len(havoc.told)} faults"
        sys.stdout.write(f"round {number} of {rounds}: agreed, {done}\n")


def setting(name: str, short_form: int) -> int:
    return int(os.environ.get(f"NEPTUNE_CHAOS_{name}", short_form))
