"""`python -m neptune.testing.simulation`: runs many schedules, or shows one.

--seeds 10000 --from 0    run that many, in parallel, and name each seed that fails
--replay 17               run one and print its events
--profile disorder        only such schedules; else each seed draws one (`profiles`)
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

from neptune.testing.simulation.profiles import PROFILES, Profile, drawn_profile
from neptune.testing.simulation.simulation import Outcome, simulate

#: Schedules that a process takes at a time: enough that handing them out costs nothing, few enough for a fair end.
_CHUNK = 8


def main() -> int:
    """Run what the arguments say; return 1 when a schedule failed."""
    parser = argparse.ArgumentParser(prog="python -m neptune.testing.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many schedules to run")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--replay", type=int, help="run this one seed and print what happens")
    parser.add_argument("--profile", choices=PROFILES, help="what the schedules have much of")
    asked = parser.parse_args()
    profile = PROFILES.get(asked.profile)
    if asked.replay is not None:
        return _replay(asked.replay, profile)
    return _run(range(asked.first, asked.first + asked.seeds), profile, asked.jobs)


def _replay(seed: int, profile: Profile | None) -> int:
    outcome = simulate(seed, profile)
    print(*outcome.trace, sep="\n")
    _show(outcome)
    return 1 if outcome.failures else 0


def _run(seeds: range, profile: Profile | None, jobs: int) -> int:
    start, failed, healing = time.monotonic(), 0, 0.0
    for done, outcome in enumerate(_outcomes(seeds, profile, jobs), start=1):
        healing = max(healing, outcome.healing_seconds)
        if outcome.failures:
            failed += 1
            _show(outcome)
        if done % 100 == 0 or done == len(seeds):
            rate = done / (time.monotonic() - start)
            print(
                f"{done} of {len(seeds)} schedules, {failed} failed, {rate:.1f} a second, healed in {healing:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    return 1 if failed else 0


def _outcomes(seeds: range, profile: Profile | None, jobs: int) -> Iterator[Outcome]:
    one = partial(_simulate, profile=profile)
    if jobs == 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(one, seeds, chunksize=_CHUNK)


def _simulate(seed: int, profile: Profile | None) -> Outcome:
    try:
        outcome = simulate(seed, profile)
    except Exception as error:  # noqa: BLE001  # of one schedule, which the others must survive
        name = (profile or drawn_profile(seed)).name
        return Outcome(seed, name, (f"the simulation broke: {error!r}",), (), 0.0, 0.0)
    # The events of thousands of good schedules are not worth their way between processes.
    return outcome if outcome.failures else replace(outcome, trace=())


def _show(outcome: Outcome) -> None:
    name = f"seed {outcome.seed} ({outcome.profile})"
    if not outcome.failures:
        print(f"{name}: agreed {outcome.healing_seconds:.1f} s after {outcome.fault_seconds:.1f} s of faults")
        return
    print(f"{name} FAILED: {outcome.failures[0]}")
    for failure in outcome.failures[1:4]:
        print(f"    {failure}")
    command = f".venv/bin/python -m neptune.testing.simulation --replay {outcome.seed} --profile {outcome.profile}"
    print(f"    replay: {command}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
