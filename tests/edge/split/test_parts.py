"""The parts' arithmetic: disjoint, complete, close to the ratios in every prefix, and nothing moves."""

from __future__ import annotations

import math
import pickle
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.edge.split.parts import Partition, Positions, Ratio, apportion, exact_ratios, positions
from neptune.errors import SettingsError

THIRDS = {"a": Fraction(1, 3), "b": Fraction(1, 3), "c": Fraction(1, 3)}
COMMON = {"train": Fraction(4, 5), "eval": Fraction(1, 5)}
GOLDEN_TWO = [4, 5, 14, 17, 22, 29, 31, 35, 41, 46]
GOLDEN_THREE = "cbacabbcabcaacbacbbcaacbcbabca"


@st.composite
def ratios(draw: st.DrawFn) -> dict[str, Fraction]:
    weights = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=6))
    return {f"p{number}": Fraction(weight, sum(weights)) for number, weight in enumerate(weights)}


seeds = st.integers(0, 2**63)


@given(ratios(), seeds, st.integers(0, 300), st.booleans())
def test_parts_are_disjoint_and_cover_everything(
    ratios: dict[str, Fraction], seed: int, total: int, contiguous: bool
) -> None:
    found = positions(ratios, total, seed=seed, contiguous=contiguous)
    assert sorted(i for part in found.values() for i in part) == list(range(total))
    assert all(list(part) == sorted(part) and len(part) == len(list(part)) for part in found.values())


@given(ratios(), seeds, st.integers(0, 300))
def test_every_prefix_is_as_near_to_the_ratios_as_the_bound_says(
    ratios: dict[str, Fraction], seed: int, total: int
) -> None:
    partition = Partition(ratios, seed)
    for name, ratio in ratios.items():
        error = abs(partition.count(name, total) - ratio * total)
        assert error == 0 or error < len(ratios) - 1


@given(ratios(), seeds, st.integers(1, 3))
def test_a_total_that_the_ratios_divide_is_divided_exactly(ratios: dict[str, Fraction], seed: int, times: int) -> None:
    total = times * math.lcm(*(ratio.denominator for ratio in ratios.values()))
    partition = Partition(ratios, seed)
    assert all(partition.count(name, total) == ratio * total for name, ratio in ratios.items())


@given(ratios(), seeds, st.integers(0, 200), st.integers(0, 200))
def test_growth_moves_nothing(ratios: dict[str, Fraction], seed: int, before: int, more: int) -> None:
    old = positions(ratios, before, seed=seed, contiguous=False)
    new = positions(ratios, before + more, seed=seed, contiguous=False)
    assert all(list(new[name])[: len(part)] == list(part) for name, part in old.items())


@given(ratios(), seeds, st.integers(0, 10**15))
def test_the_part_of_a_sample_and_the_samples_of_a_part_agree(
    ratios: dict[str, Fraction], seed: int, number: int
) -> None:
    partition = Partition(ratios, seed)
    name = partition.part_of(number)
    assert partition.position(name, partition.count(name, number)) == number


@given(ratios(), st.integers(0, 1000))
def test_largest_remainders_give_each_its_floor_or_one_more(ratios: dict[str, Fraction], total: int) -> None:
    counts = apportion(ratios, total)
    assert sum(counts.values()) == total
    assert all(0 <= counts[name] - int(ratio * total) <= 1 for name, ratio in ratios.items())


def test_a_thousand_by_four_fifths_are_eight_hundred_and_two_hundred() -> None:
    for contiguous in (False, True):
        found = positions(COMMON, 1000, seed=7, contiguous=contiguous)
        assert {name: len(part) for name, part in found.items()} == {"train": 800, "eval": 200}


def test_contiguous_parts_follow_each_other_in_the_order_given() -> None:
    found = positions(THIRDS, 10, seed=0, contiguous=True)
    assert [list(part) for part in found.values()] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_another_seed_draws_another_part_and_the_order_of_names_does_not_matter() -> None:
    drawn = [list(Positions(Partition(COMMON, seed), "eval", 500)) for seed in (1, 2)]
    assert drawn[0] != drawn[1]
    turned = dict(reversed(COMMON.items()))
    assert list(Positions(Partition(turned, 1), "eval", 500)) == drawn[0]


def test_each_place_of_a_run_is_drawn_about_as_often() -> None:
    drawn = [i % 5 for i in Positions(Partition(COMMON, 3), "eval", 50_000)]
    assert all(1800 < drawn.count(place) < 2200 for place in range(5))


def test_the_draw_is_the_same_in_every_release() -> None:
    # Written down once: who has trained on a part must find it again.
    assert list(Positions(Partition(COMMON, 0), "eval", 50)) == GOLDEN_TWO
    thirds = Partition(THIRDS, 42)
    assert "".join(thirds.part_of(i) for i in range(30)) == GOLDEN_THREE


def test_positions_are_a_sequence_that_can_be_sent_to_another_process() -> None:
    part = Positions(Partition(COMMON, 0), "train", 100)
    copy = pickle.loads(pickle.dumps(part))  # noqa: S301 - our own bytes
    assert list(copy) == list(part) == [part[k] for k in range(80)]
    assert (part[-1], part[2:5], len(part[::7])) == (part[79], [part[2], part[3], part[4]], 12)
    with pytest.raises(IndexError):
        part[80]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"train": 0.8, "eval": 0.2}, ["4/5", "1/5"]),
        ({"a": "1/3", "b": "2/3"}, ["1/3", "2/3"]),
        ({"a": 0.7, "b": 0.2, "c": 0.1}, ["7/10", "1/5", "1/10"]),
        ({"all": 1}, ["1"]),
    ],
)
def test_ratios_are_taken_as_they_are_written(given: dict[str, Ratio], expected: list[str]) -> None:
    assert [str(ratio) for ratio in exact_ratios(given).values()] == expected


@pytest.mark.parametrize(
    ("given", "part_of_message"),
    [
        ({"train": 0.8, "eval": 0.1}, "add up to 0.9, not 1"),
        ({"a": 0.333, "b": 0.333, "c": 0.333}, "a third is written 1/3"),
        ({}, "no part"),
        ({"a": -0.5, "b": 1.5}, "above 0"),
        ({"a": "1e400"}, "1 at most"),
        ({"a": "1e-999999999", "b": 1}, "such as 0.8 or 4/5"),
        ({"a": "half", "b": 0.5}, "such as 0.8 or 4/5"),
        ({"a": "1/0", "b": 0.5}, "such as 0.8 or 4/5"),
        ({"a": float("nan"), "b": 0.5}, "such as 0.8 or 4/5"),
    ],
)
def test_ratios_that_make_no_whole_are_refused(given: dict[str, Ratio], part_of_message: str) -> None:
    with pytest.raises(SettingsError, match=part_of_message):
        exact_ratios(given)
