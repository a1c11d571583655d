"""How long the transports wait between attempts."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from neptune.transport.retry import Retry, RetryPolicy


class Highest(Random):
    """Draws the upper bound, so that it can be seen."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_ceiling_doubles_up_to_its_maximum() -> None:
    retry = Retry(RetryPolicy(first_seconds=1, max_seconds=30), Highest())
    assert [retry.after(connected_seconds=0) for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_connection_that_held_starts_the_count_anew() -> None:
    retry = Retry(RetryPolicy(first_seconds=1, max_seconds=30), Highest())
    for _ in range(5):
        retry.after(connected_seconds=0)
    assert retry.after(connected_seconds=31) == 1


def test_two_clients_that_throw_each_other_out_slow_down() -> None:
    retry = Retry(RetryPolicy(first_seconds=1, max_seconds=30), Highest())
    assert [retry.after(connected_seconds=0.5) for _ in range(6)][-1] == 30


@given(st.integers(), st.integers(min_value=0, max_value=2000))
def test_the_wait_stays_in_bounds_however_long_it_goes_on(seed: int, attempts: int) -> None:
    retry = Retry(RetryPolicy(), Random(seed))  # noqa: S311 - jitter, no secret
    for _ in range(attempts):
        assert 0 <= retry.after(connected_seconds=0) <= 120


def test_the_ceiling_stays_until_each_address_had_its_turn() -> None:
    retry = Retry(RetryPolicy(first_seconds=1, max_seconds=120), Highest(), addresses=2)
    assert [retry.after(connected_seconds=0) for _ in range(6)] == [1, 1, 2, 2, 4, 4]
