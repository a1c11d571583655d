from __future__ import annotations

from random import Random

from neptune.protocol.backoff import Backoff


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
