from __future__ import annotations

from neptune.protocol.desired import DesiredState
from neptune.protocol.status import Outbox
from neptune.protocol.sync import Sync
from neptune.protocol.turns import GET_MAX_SECONDS, MAX_ROLL_CALL_SECONDS, REFUSED_MAX_SECONDS, Turns
from tests.protocol.samples import rng


def asking(now: float) -> tuple[Turns, Sync]:
    """Return the turns of a node whose question is out."""
    turns, sync = Turns(rng()), Sync(DesiredState(), Outbox(rng()))
    turns.connected(now)
    turns.begin(now)
    turns.asked(sync, "e", now, asked_after=0)
    return turns, sync


def at(turns: Turns) -> float:
    assert turns.next is not None
    return turns.next.at


def test_a_cause_that_comes_while_a_question_is_out_leads_to_another_after_it() -> None:
    turns, sync = asking(10.0)
    turns.ask_soon(11.0)
    assert turns.next is not None
    assert turns.next.sync is sync
    turns.end(sync, 13.0)
    assert turns.next.sync is None
    assert at(turns) == 13.0


def test_questions_without_an_answer_come_further_apart_and_one_with_an_answer_ends_that() -> None:
    turns, sync = asking(0.0)
    for _ in range(10):
        turns.asked(sync, "e", 0.0, asked_after=0)
    assert GET_MAX_SECONDS / 2 <= at(turns) <= GET_MAX_SECONDS
    turns.answered()
    turns.asked(sync, "e", 0.0, asked_after=0)
    assert at(turns) <= 5.0


def test_a_roll_call_is_answered_within_its_spread_and_a_bound_though_a_question_is_out() -> None:
    turns, _ = asking(0.0)
    turns.roll_call(0.0, 10_000.0)
    assert turns.next is not None
    assert turns.next.sync is None
    assert at(turns) <= MAX_ROLL_CALL_SECONDS


def test_refusals_are_one_cause_a_synchronisation_and_each_waits_longer() -> None:
    turns = Turns(rng())
    waits = []
    for _ in range(12):
        turns.disconnected()
        turns.begin(0.0)
        turns.refused(0.0)
        waits.append(at(turns))
        turns.refused(-100.0)  # another of the same
        assert at(turns) == waits[-1]
    assert waits[0] <= 1.0
    assert REFUSED_MAX_SECONDS / 2 <= waits[-1] <= REFUSED_MAX_SECONDS
