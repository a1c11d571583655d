from __future__ import annotations

from collections.abc import Callable

import pytest

from neptune.protocol import presence
from neptune.protocol.presence import DEBOUNCE_SECONDS, SILENCE_SECONDS, NodeState, PresenceTable


def a_table() -> PresenceTable:
    """Return a table in which node `a` of epoch 5 was born on connection 2 at time 0."""
    table = PresenceTable()
    table.alive("a", 5, 2, 0.0)
    return table


def settled(table: PresenceTable, since: float = 0.0) -> NodeState:
    """Return the state after the debounce, and long before silence counts."""
    table.expire(since + DEBOUNCE_SECONDS)
    return table.state("a")


def test_node_that_nobody_heard_of_was_never_seen() -> None:
    table = PresenceTable()
    assert table.state("a") is NodeState.NEVER_SEEN
    assert table.next_deadline() is None
    assert table.expire(1e9) == []


def test_tally_counts_who_was_heard_of_and_who_is_missed() -> None:
    table = a_table()
    table.gone("b", 1, 1, 0.0)
    assert table.tally(["a", "b", "c", "d"]) == {
        NodeState.ONLINE: 1,
        NodeState.OFFLINE: 1,
        NodeState.NEVER_SEEN: 2,
    }


def test_birth_makes_a_node_online_and_tells_so_once() -> None:
    table = PresenceTable()
    assert table.alive("a", 1, 1, 0.0)
    assert not table.alive("a", 1, 1, 1.0)
    assert table.state("a") is NodeState.ONLINE


def test_will_counts_only_after_the_debounce() -> None:
    table = a_table()
    assert not table.gone("a", 5, 2, 100.0)
    assert table.next_deadline() == 100.0 + DEBOUNCE_SECONDS
    assert table.expire(100.0 + DEBOUNCE_SECONDS - 0.1) == []
    assert table.state("a") is NodeState.ONLINE
    assert table.expire(100.0 + DEBOUNCE_SECONDS) == ["a"]
    assert table.state("a") is NodeState.OFFLINE
    assert table.next_deadline() is None
    assert table.expire(1e9) == []


def test_newer_birth_within_the_debounce_means_never_away() -> None:
    table = a_table()
    table.gone("a", 5, 2, 0.0)
    assert not table.alive("a", 5, 3, 1.0)
    assert settled(table) is NodeState.ONLINE


def test_will_of_an_older_connection_or_process_says_nothing() -> None:
    table = a_table()
    table.gone("a", 5, 1, 0.0)
    table.gone("a", 4, 9, 0.0)
    assert settled(table) is NodeState.ONLINE


def test_second_will_does_not_postpone() -> None:
    table = a_table()
    table.gone("a", 5, 2, 0.0)
    table.gone("a", 5, 2, 20.0)
    assert settled(table) is NodeState.OFFLINE


def test_will_that_overtook_its_birth_stands() -> None:
    table = a_table()
    table.gone("a", 6, 1, 0.0)
    assert not table.alive("a", 6, 1, 1.0)
    assert settled(table) is NodeState.OFFLINE


def test_birth_that_comes_twice_does_not_undo_the_will_of_its_connection() -> None:
    table = a_table()
    table.gone("a", 5, 2, 0.0)
    table.alive("a", 5, 2, 1.0)
    assert settled(table) is NodeState.OFFLINE
    assert not table.alive("a", 5, 2, 60.0)
    assert table.state("a") is NodeState.OFFLINE


def test_message_proves_life_where_a_birth_was_lost() -> None:
    table = a_table()
    table.gone("a", 5, 2, 0.0)
    table.expire(DEBOUNCE_SECONDS)
    assert table.heard("a", 5, 40.0)
    assert table.state("a") is NodeState.ONLINE
    assert not table.alive("a", 5, 3, 41.0)
    table.gone("a", 5, 3, 42.0)
    assert settled(table, 42.0) is NodeState.OFFLINE


def test_word_of_an_older_process_says_nothing_while_a_newer_one_is_there() -> None:
    table = a_table()
    assert not table.heard("a", 4, 1.0)
    assert not table.alive("a", 4, 9, 1.0)
    table.gone("a", 4, 9, 2.0)
    table.gone("a", 5, 2, 3.0)
    assert settled(table, 3.0) is NodeState.OFFLINE


@pytest.mark.parametrize(
    "word",
    [lambda table: table.heard("a", 4, 40.0), lambda table: table.alive("a", 4, 3, 40.0)],
    ids=["message", "birth"],
)
def test_process_with_a_lower_epoch_is_believed_once_the_higher_one_has_gone(
    word: Callable[[PresenceTable], bool],
) -> None:
    table = a_table()
    table.gone("a", 5, 2, 0.0)
    table.expire(DEBOUNCE_SECONDS)
    assert word(table)
    assert table.state("a") is NodeState.ONLINE
    table.gone("a", 4, 3, 50.0)
    assert settled(table, 50.0) is NodeState.OFFLINE


def test_late_birth_of_an_earlier_connection_does_not_undo_a_will() -> None:
    table = a_table()
    table.gone("a", 5, 2, 0.0)
    assert not table.alive("a", 5, 1, 1.0)
    assert settled(table) is NodeState.OFFLINE


def test_first_word_of_a_new_process_makes_it_known_before_its_birth() -> None:
    table = a_table()
    table.heard("a", 6, 1.0)
    table.gone("a", 5, 2, 2.0)
    assert settled(table, 2.0) is NodeState.ONLINE
    table.gone("a", 6, 1, 40.0)
    assert settled(table, 40.0) is NodeState.OFFLINE


def test_will_of_a_node_that_was_never_seen_changes_its_state() -> None:
    table = PresenceTable()
    assert table.gone("a", 5, 2, 0.0)
    assert table.state("a") is NodeState.OFFLINE
    assert not table.gone("a", 5, 2, 1.0)
    assert not table.alive("a", 5, 2, 2.0)
    assert table.alive("a", 5, 3, 2.0)


def test_node_whose_will_never_came_counts_as_away_after_a_long_silence() -> None:
    table = a_table()
    table.heard("a", 5, 600.0)
    assert table.expire(600.0 + SILENCE_SECONDS - 1) == []
    assert table.next_deadline() == 600.0 + SILENCE_SECONDS
    assert table.expire(600.0 + SILENCE_SECONDS) == ["a"]


def test_nodes_do_not_affect_each_other() -> None:
    table = a_table()
    table.alive("b", 1, 1, 0.0)
    table.gone("b", 1, 1, 5.0)
    assert table.expire(5.0 + DEBOUNCE_SECONDS) == ["b"]
    assert table.state("a") is NodeState.ONLINE


def test_will_from_before_a_raised_epoch_still_tells_that_its_connection_broke() -> None:
    table = PresenceTable()
    table.alive("edge0", 100, 1, 0.0, will_epoch=7)
    table.gone("edge0", 7, 1, 1.0)
    assert table.expire(1.0 + DEBOUNCE_SECONDS) == ["edge0"]


def test_highest_epoch_outlives_the_process_that_had_it() -> None:
    table = PresenceTable()
    table.alive("edge0", 9, 1, 0.0)
    table.gone("edge0", 9, 1, 1.0)
    table.alive("edge0", 7, 2, 2.0)
    assert table.highest_epoch("edge0") == 9
    assert table.highest_epoch("edge1") == 0


def test_names_without_end_do_not_grow_memory_and_a_node_that_speaks_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "MAX_NODES", 100)
    table = PresenceTable()
    for number in range(1000):
        table.heard(f"n{number}", 1, float(number))
        table.gone(f"gone{number}", 1, 1, float(number))
        table.heard("edge0", 1, float(number))
    assert len(table._nodes) == 100
    assert table.state("edge0") is NodeState.ONLINE
    assert table.state("n0") is NodeState.NEVER_SEEN
