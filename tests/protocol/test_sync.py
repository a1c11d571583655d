from __future__ import annotations

from dataclasses import replace

from neptune.protocol.desired import Change, DesiredState
from neptune.protocol.digest import bucket_of
from neptune.protocol.messages import (
    MAX_ASKED,
    DesiredObject,
    EntriesResult,
    Get,
    GetEntries,
    GetObjects,
    GetResult,
    Header,
    ObjectsResult,
    Question,
)
from neptune.protocol.status import Outbox
from neptune.protocol.sync import Sync
from tests.protocol.samples import a_report, an_object, everything, object_tree, rng

MINE = [an_object(f"u{number}") for number in range(40)]


def header(seq: int) -> Header:
    return Header("e", 0, cloud_epoch=1, seq=seq)


def a_sync(*mine: DesiredObject) -> Sync:
    sync = Sync(DesiredState({item.uid: item for item in mine}), Outbox(rng()))
    sync.begin()
    sync.desired.follow(header(1))
    return sync


def told_the_roots(*theirs: DesiredObject) -> Sync:
    """Return a synchronisation of a node with `MINE` that was told that the cloud has `theirs`."""
    sync = a_sync(*MINE)
    tree = object_tree(*theirs)
    assert sync.take(header(1), GetResult(tree.root, tree.buckets())) == Change()
    return sync


def in_two_parts(sync: Sync, *theirs: DesiredObject) -> tuple[EntriesResult, EntriesResult]:
    assert isinstance(sync.question, GetEntries)
    entries = list(object_tree(*theirs).entries(sync.question.buckets).items())
    half = len(entries) // 2
    return EntriesResult(1, 2, dict(entries[:half]), {}), EntriesResult(2, 2, dict(entries[half:]), {})


def question(sync: Sync) -> Question | None:
    """Return what is asked now: mypy takes an attribute that it has seen once for unchanged."""
    return sync.question


def test_part_of_the_entries_drops_nothing_however_often_it_comes() -> None:
    theirs = MINE[:30]
    sync = told_the_roots(*theirs)
    first, second = in_two_parts(sync, *theirs)
    for part in (second, second):
        assert sync.take(header(2), part) == Change()
    assert len(sync.desired.records) == 40
    change = sync.take(header(2), first)
    assert change
    assert set(change.forgotten) == {item.uid for item in MINE[30:]}
    assert isinstance(sync.question, Get), "once more, to see that it worked"
    assert sync.question.root == object_tree(*theirs).root


def test_part_of_a_complete_answer_stores_and_drops_nothing() -> None:
    sync, new = a_sync(*MINE), an_object("new")
    first = replace(everything(new, *MINE[:20]), of=2, objects=(new,))
    change = sync.take(header(1), first)
    assert change == Change((new,))
    assert len(sync.desired.records) == 41
    change = sync.take(header(1), replace(first, part=2, objects=tuple(MINE[:31])))
    assert change
    assert set(change.forgotten) == {item.uid for item in MINE[31:]}
    assert sync.question is None


def test_only_the_buckets_that_differ_are_asked_for_and_spoken_for() -> None:
    changed = an_object("u7", 2)
    sync = told_the_roots(*(changed if item.uid == "u7" else item for item in MINE))
    assert question(sync) == GetEntries((bucket_of("u7"),), ())
    entries = object_tree(changed).entries()
    sync.take(header(2), EntriesResult(1, 1, entries, {}))
    assert question(sync) == GetObjects(("u7",))
    assert sync.take(header(3), ObjectsResult(1, 1, (changed,), ())) == Change((changed,))
    assert len(sync.desired.records) == 40


def test_objects_are_asked_for_in_groups_and_one_that_went_meanwhile_is_forgotten() -> None:
    theirs = [an_object(f"n{number}") for number in range(MAX_ASKED + 1)]
    sync = told_the_roots(*MINE, *theirs)
    assert isinstance(sync.question, GetEntries)
    entries = object_tree(*MINE, *theirs).entries(sync.question.buckets)
    sync.take(header(2), EntriesResult(1, 1, entries, {}))
    asked: list[int] = []
    while isinstance(now := question(sync), GetObjects):
        asked.append(len(now.uids))
        sync.take(header(2 + len(asked)), ObjectsResult(1, 1, (), now.uids))
    assert asked == [MAX_ASKED, 1]
    assert len(sync.desired.records) == 40


def test_what_was_pushed_after_an_answer_was_made_survives_it() -> None:
    sync = told_the_roots(*MINE[:30])
    first, second = in_two_parts(sync, *MINE[:30])
    later = an_object("u39", 2)
    sync.desired.take(9, [later], ())
    sync.take(header(2), first)
    sync.take(header(2), second)
    assert sync.desired.records["u39"] == later
    assert not sync.is_in_step


def test_answer_that_is_none_to_the_question_is_not_taken() -> None:
    sync = a_sync(*MINE)
    assert sync.take(header(1), EntriesResult(1, 1, {}, {})) is None
    assert sync.take(header(1), ObjectsResult(1, 1, (), ("u1",))) is None
    assert len(sync.desired.records) == 40


def test_object_that_goes_takes_its_status_along_before_statuses_are_compared() -> None:
    sync = told_the_roots(*MINE[1:])
    sync.outbox.remember(a_report("u0"))
    assert isinstance(sync.question, GetEntries)
    sync.take(header(2), EntriesResult(1, 1, object_tree(*MINE[1:]).entries(sync.question.buckets), {}))
    assert isinstance(sync.question, Get)
    assert sync.question.status_root == object_tree().root
