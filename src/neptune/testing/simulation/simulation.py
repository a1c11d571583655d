"""One schedule from its seed to the verdict.

Neighbours: `schedule` and `judge` do the work; `__main__` runs thousands of these.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

from neptune.protocol.turns import RESYNC_SECONDS
from neptune.testing.simulation import loop as virtual
from neptune.testing.simulation.judge import Judge
from neptune.testing.simulation.loop import START_SECONDS
from neptune.testing.simulation.profiles import Profile, drawn_profile
from neptune.testing.simulation.schedule import Schedule
from neptune.testing.simulation.workers import Workers
from neptune.testing.simulation.world import World
from neptune.transport.broker_types import Limits, Overflow

#: Things that happen in one schedule.
ACTIONS = 40
#: Within this time after the last fault all agree when no message was lost while its connection stood (seconds): a
#: lingering connection (90), a late message (30), two repeats (60 each), a lease (15), a poll and some way.
QUICK_SECONDS = 300.0
#: Else the next synchronisation heals, and what follows from it.
BOUND_SECONDS = 1.1 * RESYNC_SECONDS + QUICK_SECONDS
#: What agrees must still agree some time later (seconds).
_STEADY_SECONDS = 8.0
#: How often to look (seconds): first, and at most.
_LOOK_SECONDS, _MAX_LOOK_SECONDS = 1.0, 20.0
#: Memory-backed where there is one: what is synced there costs nothing.
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # folders of our own are made in it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a schedule: the failures, none if all went well, and the events that led there."""

    seed: int
    #: The name of its profile.
    profile: str
    failures: tuple[str, ...]
    trace: tuple[str, ...]
    #: Virtual seconds that the faults lasted, and that it took from there until all agreed.
    fault_seconds: float
    healing_seconds: float


def simulate(seed: int, profile: Profile | None = None) -> Outcome:
    """Run the schedule of that seed, of that profile or else of one that the seed draws.

    The same seed and profile give the same outcome, each time and on each machine, whoever named the profile.
    """
    parent = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="neptune-simulation-", dir=parent) as folder:
        return virtual.run(_simulate(seed, profile or drawn_profile(seed), Path(folder)))


async def _simulate(seed: int, profile: Profile, folder: Path) -> Outcome:
    rng = Random(seed)  # noqa: S311  # a schedule, no secret
    lossy = rng.random() < profile.lossy
    # Queues so short that a burst does not fit, as with a slow reader behind a fast writer.
    limits = Limits(queue_messages=5, in_flight=2) if lossy and rng.random() < 0.5 else None
    overflow = rng.choice((Overflow.NEWEST, Overflow.OLDEST))
    is_elected = rng.random() < profile.elected
    world = World(seed, folder, is_elected=is_elected, limits=limits, overflow=overflow)
    workers = Workers(world, world.fork())
    judge = Judge(world, workers)
    schedule = Schedule(world, judge, profile, lossy=lossy, has_tasks=rng.random() < profile.tasks)
    world.trace.say("schedule", "begins", seed=seed, profile=profile.name, lossy=lossy, limits=limits)
    healed_at = ended_at = world.loop.time()
    with world.trace.listening():
        try:
            schedule.begin()
            workers.start()
            await schedule.storm(ACTIONS)
            schedule.end()
            ended_at = world.loop.time()
            healed_at = await _heal(world, judge, ended_at + (BOUND_SECONDS if lossy else QUICK_SECONDS))
        finally:
            await world.end()
    return Outcome(
        seed,
        profile.name,
        tuple(world.failures),
        tuple(world.trace.lines()),
        ended_at - START_SECONDS,
        healed_at - ended_at,
    )


async def _heal(world: World, judge: Judge, deadline: float) -> float:
    """Wait until all agree, for good, and return when that was."""
    agreed_at: float | None = None
    pause = _LOOK_SECONDS
    while not world.failures:
        differences = judge.differences()
        now = world.loop.time()
        if differences:
            agreed_at = None
            if now >= deadline:
                world.failures += differences
        elif agreed_at is None:
            agreed_at = now
        elif now - agreed_at >= _STEADY_SECONDS:
            return agreed_at
        await asyncio.sleep(min(pause, _STEADY_SECONDS if agreed_at else _MAX_LOOK_SECONDS))
        pause *= 1.2
    return world.loop.time()
