from __future__ import annotations

from random import Random

from neptune.protocol.backoff import Backoff, Pace


def a_backoff(seed: int = 1) -> Backoff:
    return Backoff(base_seconds=5.0, max_seconds=60.0, rng=Random(seed))  # noqa: S311  # jitter


def test_each_wait_is_between_half_and_the_whole_of_a_doubling_ceiling() -> None:
    backoff = a_backoff()
    for ceiling in (5.0, 10.0, 20.0, 40.0, 60.0, 60.0):
        assert ceiling / 2 <= backoff.next() <= ceiling


def test_waits_stay_bounded_after_thousands_of_attempts() -> None:
    backoff = a_backoff()
    assert all(backoff.next() <= 60.0 for _ in range(5000))


def test_reset_starts_over() -> None:
    backoff = a_backoff()
    for _ in range(10):
        backoff.next()
    backoff.reset()
    assert backoff.next() <= 5.0


def test_two_nodes_do_not_wait_alike() -> None:
    assert a_backoff(1).next() != a_backoff(2).next()


def test_a_pace_lets_the_first_pass_at_once_and_the_others_ever_later() -> None:
    pace, now, waits = Pace(5.0, 60.0), 1000.0, []
    for _ in range(6):
        assert pace.left(now) == 0.0
        pace.done(now)
        waits.append(pace.left(now))
        now += waits[-1]
    assert (waits, pace.times) == ([5.0, 10.0, 20.0, 40.0, 60.0, 60.0], 6)


def test_a_pace_starts_over_after_a_long_rest() -> None:
    pace = Pace(5.0, 60.0)
    pace.done(0.0)
    pace.done(64.9)
    assert (pace.times, pace.left(64.9)) == (2, 10.0)
    pace.done(134.9)
    assert (pace.times, pace.left(134.9)) == (1, 5.0)
