from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune.protocol.desired import Assembly, Change, DesiredState
from neptune.protocol.messages import DesiredObject, Header, ObjectsResult, Updated
from tests.protocol.samples import an_object


def header(seq: int, epoch: int = 1) -> Header:
    return Header("e", 0, cloud_epoch=epoch, seq=seq)


def push(*objects: DesiredObject, deleted: tuple[str, ...] = ()) -> Updated:
    return Updated(objects, deleted)


A1, A2, B1 = an_object("a", 1), an_object("a", 2), an_object("b", 1)


def replace_all(
    state: DesiredState, seq: int, objects: Iterable[DesiredObject], *, epoch: int = 1, asked_after: int = -1
) -> Change:
    """Take a complete answer, as `sync` does."""
    objects = list(objects)
    state.follow(header(seq, epoch), asked_after=asked_after)
    stored = state.take(seq, objects, ())
    dropped = state.drop_absent(seq, {item.uid for item in objects})
    state.agree(seq)
    return Change(stored.stored, dropped.forgotten)


def after_answer(*objects: DesiredObject, seq: int = 10) -> DesiredState:
    state = DesiredState()
    replace_all(state, seq, objects)
    return state


def test_answer_stores_what_it_holds_and_forgets_what_it_lacks() -> None:
    state = DesiredState({"a": A1, "old": an_object("old")})
    assert replace_all(state, 1, [A2, B1]) == Change((A2, B1), ("old",))
    assert state.records == {"a": A2, "b": B1}


def test_answer_that_changes_nothing_is_an_empty_change() -> None:
    assert replace_all(after_answer(A1), 11, [A1]) == Change()


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
    assert replace_all(state, 20, [A1, B1, an_object("c")]) == Change((an_object("c"),))
    assert state.records == {"a": A2, "c": an_object("c")}


def test_object_pushed_after_the_answer_was_made_is_not_absent() -> None:
    state = after_answer(A1)
    state.update(header(21), push(B1))
    assert replace_all(state, 20, [A1]) == Change()


def test_answer_of_a_new_cloud_wins_whatever_its_number() -> None:
    state = after_answer(A2, seq=1000)
    state.update(header(1001), push(B1))
    assert replace_all(state, 1, [A1], epoch=2) == Change((A1,), ("b",))
    assert state.update(header(2, epoch=2), push(A2)) == Change((A2,))


def test_cloud_that_starts_anew_under_the_same_epoch_is_followed() -> None:
    state = after_answer(A1, seq=500)
    state.update(header(1000), push(A2))
    asked_after = state.newest
    assert replace_all(state, 600, [A1], asked_after=asked_after) == Change((A1,))
    assert state.update(header(601), push(A2)) == Change((A2,))


def test_memory_of_pushes_ends_with_the_answer_that_speaks_for_them() -> None:
    state = after_answer()
    for number in range(1000):
        state.update(header(11 + number), push(deleted=(f"u{number}",)))
    replace_all(state, 2000, [])
    assert state._seen == {}


@settings(deadline=None)  # the machine is shared
@given(st.permutations(range(8)), st.lists(st.integers(0, 7), max_size=8))
def test_any_order_of_pushes_with_duplicates_ends_in_the_last_one(order: list[int], again: list[int]) -> None:
    versions = [an_object("a", number + 1) for number in range(7)]
    state = after_answer()
    for number in [*order, *again]:
        message = push(deleted=("a",)) if number == 7 else push(versions[number])
        state.update(header(20 + number), message)
    assert state.records == {}


def part(number: int, of: int, *objects: DesiredObject) -> ObjectsResult:
    return ObjectsResult(number, of, objects, ())


def test_parts_in_any_order_and_twice_make_one_answer() -> None:
    assembly: Assembly[ObjectsResult] = Assembly()
    assert assembly.add(header(5), part(2, 2, B1)) is None
    assert assembly.add(header(5), part(2, 2, B1)) is None
    assert assembly.add(header(5), part(1, 2, A1)) == [part(1, 2, A1), part(2, 2, B1)]


@pytest.mark.parametrize("number", [0, 3])
def test_part_outside_its_own_count_is_ignored(number: int) -> None:
    assembly: Assembly[ObjectsResult] = Assembly()
    assert assembly.add(header(5), part(number, 2, A1)) is None
    assert assembly.add(header(5), part(1, 2, A1)) is None


def test_parts_of_two_answers_to_one_question_never_mix() -> None:
    assembly: Assembly[ObjectsResult] = Assembly()
    assert assembly.add(header(5), part(1, 2, A1)) is None
    assert assembly.add(header(6), part(2, 2, B1)) is None, "a is in part 2 of answer 5 and 1 of answer 6"
    assert assembly.add(header(5), part(2, 2)) is None, "the older answer is given up"
    assert assembly.add(header(6), part(1, 2, A2)) == [part(1, 2, A2), part(2, 2, B1)]


def test_parts_of_two_clouds_never_mix() -> None:
    assembly: Assembly[ObjectsResult] = Assembly()
    assert assembly.add(header(5, epoch=1), part(1, 2, A1)) is None
    assert assembly.add(header(5, epoch=2), part(2, 2)) is None
    assert assembly.add(header(5, epoch=2), part(1, 2, B1)) == [part(1, 2, B1), part(2, 2)]


def test_answer_that_shrank_does_not_take_parts_of_the_longer_one() -> None:
    assembly: Assembly[ObjectsResult] = Assembly()
    assembly.add(header(5), part(2, 3, A1))
    assembly.add(header(5), part(3, 3, B1))
    assert assembly.add(header(6), part(1, 2, A2)) is None


MANY = [an_object(f"u{number}") for number in range(40)]


def lacking(state: DesiredState, seq: int, *kept: DesiredObject) -> Change:
    return replace_all(state, seq, kept)


@pytest.mark.parametrize(("kept", "is_held"), [(20, False), (19, True), (0, True)])
def test_absence_of_more_than_half_is_held_until_a_second_answer_agrees(kept: int, is_held: bool) -> None:
    state = after_answer(*MANY)
    first = lacking(state, 11, *MANY[:kept])
    assert (state.held, len(first.forgotten)) == ((40 - kept, 0) if is_held else (0, 40 - kept))
    assert len(lacking(state, 12, *MANY[:kept]).forgotten) == (40 - kept if is_held else 0)
    assert (len(state.records), state.held) == (kept, 0)


def test_absence_of_up_to_ten_needs_no_second_answer() -> None:
    assert len(lacking(after_answer(*MANY[:10]), 11).forgotten) == 10
    assert len(lacking(after_answer(*MANY[:11]), 11).forgotten) == 0


def test_second_answer_confirms_only_what_it_lacks_too() -> None:
    state = after_answer(*MANY)
    lacking(state, 11)
    assert set(lacking(state, 12, *MANY[:5]).forgotten) == {item.uid for item in MANY[5:]}


def test_second_answer_of_another_cloud_confirms_nothing() -> None:
    state = after_answer(*MANY)
    lacking(state, 11)
    assert replace_all(state, 12, (), epoch=2) == Change()
    assert len(state.records) == 40


def test_push_that_names_what_is_gone_is_believed_at_once() -> None:
    state = after_answer(*MANY)
    gone = tuple(item.uid for item in MANY)
    assert state.update(header(11), push(deleted=gone)) == Change((), gone)
