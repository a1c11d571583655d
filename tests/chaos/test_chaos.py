"""Whatever breaks, cloud, nodes and files agree some time after it stopped.

`make test` runs a short form, `make chaos` a long one with a new seed each time; NEPTUNE_CHAOS_SEED repeats one.
"""

from __future__ import annotations

import os
import sys

from tests.chaos.havoc import Havoc

#: Of one round, and of the short form: every kind of fault once, some hundreds of changes.
FAULTS, CHANGES_EACH = 9, 40


async def test_everything_agrees_after_real_faults(havoc: Havoc) -> None:
    rounds = int(os.environ.get("NEPTUNE_CHAOS_ROUNDS", "1"))
    for number in range(1, rounds + 1):
        await havoc.run(FAULTS, CHANGES_EACH)
        await havoc.agree()
        sys.stdout.write(f"round {number} of {rounds}: agreed, {havoc.changes} changes, {len(havoc.told)} faults\n")
