"""Some hundreds of schedules agree in the end; one seed is one schedule; a failure can be replayed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any
from unittest.mock import patch

import pytest

from neptune.controllers.dataset.upstream import Upstream
from neptune.testing.simulation import __main__ as program
from neptune.testing.simulation import simulate
from neptune.testing.simulation.profiles import MANY, PROFILES, Profile, drawn_profile

#: `make simulate` runs any number of others.
SEEDS = 300


def test_everything_agrees_after_any_faults() -> None:
    command = [sys.executable, "-W", "error", "-m", "neptune.testing.simulation", "--seeds", str(SEEDS)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
    assert f"{SEEDS} of {SEEDS} schedules, 0 failed" in result.stderr


def test_a_failure_names_its_seed_and_how_to_replay_it(capsys: pytest.CaptureFixture[str]) -> None:
    async def never(*_: Any) -> tuple[int, str]:
        raise RuntimeError("nothing is ever written")

    arguments = ["simulation", "--seeds", "1", "--from", "3", "--jobs", "1"]
    with patch.object(Upstream, "_write", never), patch.object(sys, "argv", arguments):
        assert program.main() == 1
    shown = capsys.readouterr().out
    profile = drawn_profile(3).name
    assert f"seed 3 ({profile}) FAILED: dataset" in shown
    assert f"python -m neptune.testing.simulation --replay 3 --profile {profile}" in shown


@pytest.mark.parametrize("profile", ["any", "tasks"])
def test_a_seed_gives_the_same_events_each_time_and_however_strings_are_hashed(profile: str) -> None:
    code = (
        "from neptune.testing.simulation import profiles, simulate;"
        f"print(*simulate(7, profiles.PROFILES['{profile}']).trace, sep='\\n')"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] == "\n".join(simulate(7, PROFILES[profile]).trace) + "\n"


def test_a_schedule_is_the_same_whether_its_seed_drew_the_profile_or_somebody_named_it() -> None:
    outcome = simulate(7)
    assert simulate(7, PROFILES[outcome.profile]).trace == outcome.trace
    other = next(each for each in PROFILES.values() if each.name != outcome.profile)
    assert simulate(7, other).trace != outcome.trace


def test_a_few_seeds_draw_every_profile() -> None:
    assert {drawn_profile(seed).name for seed in range(200)} == set(PROFILES)


def test_nodes_with_many_objects_compare_digests_and_ask_for_what_they_lack() -> None:
    """Schedules of a dozen objects never get there: a cloud sends those all at once."""
    assert any("sends sync.get.objects" in line for seed in range(20) for line in simulate(seed, MANY).trace)


def test_a_profile_that_names_no_action_is_refused() -> None:
    with pytest.raises(ValueError, match=r"profile odd names what no schedule has: \['rain'\]"):
        simulate(7, Profile("odd", frozenset({"rain", "edit"})))


def test_two_seeds_are_two_schedules() -> None:
    assert simulate(1).trace[1:] != simulate(2).trace[1:]


def test_the_events_name_who_did_what_when() -> None:
    trace = "\n".join(simulate(7).trace)
    for words in (
        "schedule   begins seed=7",
        "user       POST",
        "edge0      starts",
        "faults     end",
        "api        status",
    ):
        assert words in trace
