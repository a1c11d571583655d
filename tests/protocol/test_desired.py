from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neptune.protocol.desired import Assembly, Change, DesiredState
from neptune.protocol.messages import DesiredObject, GetResult, Header, Updated
from tests.protocol.samples import an_object


def header(seq: int, epoch: int = 1) -> Header:
    return Header("e", 0, cloud_epoch=epoch, seq=seq)


def push(*objects: DesiredObject, deleted: tuple[str, ...] = ()) -> Updated:
    return Updated(objects, deleted)


A1, A2, B1 = an_object("a", 1), an_object("a", 2), an_object("b", 1)


def after_answer(*objects: DesiredObject, seq: int = 10) -> DesiredState:
    state = DesiredState()
    state.replace(header(seq), objects)
    return state


def test_answer_stores_what_it_holds_and_forgets_what_it_lacks() -> None:
    state = DesiredState({"a": A1, "old": an_object("old")})
    assert state.replace(header(1), [A2, B1]) == Change((A2, B1), ("old",))
    assert state.records == {"a": A2, "b": B1}


def test_answer_that_changes_nothing_is_an_empty_change() -> None:
    assert after_answer(A1).replace(header(11), [A1]) == Change()


def test_push_of_another_epoch_is_not_taken() -> None:
    state = after_answer(A1)
    assert state.update(header(99, epoch=2), push(A2)) is None
    assert DesiredState({"a": A1}).update(header(1), push(A2)) is None
    assert state.records == {"a": A1}


@pytest.mark.parametrize("seq", [9, 10])
def test_push_from_before_the_answer_is_stale(seq: int) -> None:
    state = after_answer(A2)
    assert state.update(header(seq), push(A1, B1, deleted=("a",))) == Change()
    assert state.records == {"a": A2}


def test_pushes_of_one_object_win_by_their_number_and_not_by_their_arrival() -> None:
    state = after_answer(A1)
    assert state.update(header(12), push(A2)) == Change((A2,))
    assert state.update(header(11), push(A1)) == Change()
    assert state.update(header(12), push(A2)) == Change()


def test_deleted_object_does_not_come_back_by_an_older_push() -> None:
    state = after_answer(A1)
    assert state.update(header(13), push(deleted=("a",))) == Change((), ("a",))
    assert state.update(header(12), push(A2)) == Change()
    assert state.records == {}


def test_push_that_overtook_the_answer_is_kept() -> None:
    state = after_answer(A1, B1)
    state.update(header(21), push(A2, deleted=("b",)))
    assert state.replace(header(20), [A1, B1, an_object("c")]) == Change((an_object("c"),))
    assert state.records == {"a": A2, "c": an_object("c")}


def test_object_pushed_after_the_answer_was_made_is_not_absent() -> None:
    state = after_answer(A1)
    state.update(header(21), push(B1))
    assert state.replace(header(20), [A1]) == Change()


def test_answer_of_a_new_cloud_wins_whatever_its_number() -> None:
    state = after_answer(A2, seq=1000)
    state.update(header(1001), push(B1))
    assert state.replace(header(1, epoch=2), [A1]) == Change((A1,), ("b",))
    assert state.update(header(2, epoch=2), push(A2)) == Change((A2,))


def test_cloud_that_starts_anew_under_the_same_epoch_is_followed() -> None:
    state = after_answer(A1, seq=500)
    state.update(header(1000), push(A2))
    asked_after = state.newest
    assert state.replace(header(600), [A1], asked_after=asked_after) == Change((A1,))
    assert state.update(header(601), push(A2)) == Change((A2,))


def test_memory_of_pushes_ends_with_the_answer_that_speaks_for_them() -> None:
    state = after_answer()
    for number in range(1000):
        state.update(header(11 + number), push(deleted=(f"u{number}",)))
    state.replace(header(2000), [])
    assert state._seen == {}


@given(st.permutations(range(8)), st.lists(st.integers(0, 7), max_size=8))
def test_any_order_of_pushes_with_duplicates_ends_in_the_last_one(order: list[int], again: list[int]) -> None:
    versions = [an_object("a", number + 1) for number in range(7)]
    state = after_answer()
    for number in [*order, *again]:
        message = push(deleted=("a",)) if number == 7 else push(versions[number])
        state.update(header(20 + number), message)
    assert state.records == {}


def test_parts_in_any_order_and_twice_make_one_answer() -> None:
    assembly = Assembly("e")
    assert assembly.add(header(5), GetResult(2, 2, (B1,))) is None
    assert assembly.add(header(5), GetResult(2, 2, (B1,))) is None
    assert assembly.add(header(5), GetResult(1, 2, (A1,))) == [A1, B1]


@pytest.mark.parametrize("part", [0, 3])
def test_part_outside_its_own_count_is_ignored(part: int) -> None:
    assembly = Assembly("e")
    assert assembly.add(header(5), GetResult(part, 2, (A1,))) is None
    assert assembly.add(header(5), GetResult(1, 2, (A1,))) is None


def test_parts_of_two_answers_to_one_question_never_mix() -> None:
    assembly = Assembly("e")
    assert assembly.add(header(5), GetResult(1, 2, (A1,))) is None
    assert assembly.add(header(6), GetResult(2, 2, (B1,))) is None, "a is in part 2 of answer 5 and 1 of answer 6"
    assert assembly.add(header(5), GetResult(2, 2, ())) is None, "the older answer is given up"
    assert assembly.add(header(6), GetResult(1, 2, (A2,))) == [A2, B1]


def test_parts_of_two_clouds_never_mix() -> None:
    assembly = Assembly("e")
    assert assembly.add(header(5, epoch=1), GetResult(1, 2, (A1,))) is None
    assert assembly.add(header(5, epoch=2), GetResult(2, 2, ())) is None
    assert assembly.add(header(5, epoch=2), GetResult(1, 2, (B1,))) == [B1]


def test_answer_that_shrank_does_not_take_parts_of_the_longer_one() -> None:
    assembly = Assembly("e")
    assembly.add(header(5), GetResult(2, 3, (A1,)))
    assembly.add(header(5), GetResult(3, 3, (B1,)))
    assert assembly.add(header(6), GetResult(1, 2, (A2,))) is None
