"""What a reconnect may cost at 10,000 datasets, as `benchmarks.link_bytes` counts it."""

from __future__ import annotations

import pytest

from benchmarks.link_bytes import scenarios

KIB = 1024


@pytest.fixture(scope="module")
def cost() -> dict[str, dict[str, int]]:
    return {name: pair.reconnect() for name, pair in scenarios() if name != "empty disk"}


def test_unchanged_node_costs_two_messages_and_less_than_a_kilobyte_with_its_birth(
    cost: dict[str, dict[str, int]],
) -> None:
    assert cost["unchanged"]["messages"] == 2
    assert cost["unchanged"]["bytes"] <= KIB


@pytest.mark.parametrize("change", ["one object changed", "one object deleted", "one status lost"])
def test_one_change_costs_less_than_ten_kilobytes(cost: dict[str, dict[str, int]], change: str) -> None:
    assert cost[change]["bytes"] <= 10 * KIB


def test_one_lost_status_makes_the_node_send_that_one(cost: dict[str, dict[str, int]]) -> None:
    assert cost["one status lost"]["statuses"] == 1
