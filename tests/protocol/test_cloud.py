from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from neptune.protocol import codec, messages
from neptune.protocol.actions import Publish
from neptune.protocol.cloud import SNAPSHOT_OBJECTS, Action, CloudLink, PresenceChanged, Reported, Warn
from neptune.protocol.digest import bucket_of
from neptune.protocol.messages import (
    Answer,
    CloudPresence,
    DesiredObject,
    EntriesResult,
    GetEntries,
    GetObjects,
    GetResult,
    Header,
    ObjectsResult,
    Presence,
    StatusResult,
    StatusUpdate,
    Updated,
    Verdict,
)
from neptune.protocol.presence import DEBOUNCE_SECONDS, NodeState
from neptune.protocol.topics import Verb
from neptune.transport import Received
from tests.protocol.samples import (
    NODE,
    TOPICS,
    a_get,
    a_report,
    an_object,
    everything,
    hear,
    object_tree,
    raw,
    read,
    status_tree,
    to_cloud,
)
from tests.support.inventory import LiveInventory

GET = to_cloud(Verb.GET, a_get(), event_id="q1")


def a_cloud(*objects: DesiredObject, is_ready: bool = True) -> CloudLink:
    """Return a cloud where all the objects are those of every node."""
    return CloudLink(3, TOPICS, LiveInventory(lambda node: objects), is_ready=is_ready)


def answers(actions: list[Action]) -> list[tuple[Header, Answer]]:
    read_all = [read(action.message) for action in actions if isinstance(action, Publish)]
    return [(header, body) for header, body in read_all if isinstance(body, get_args(Answer))]


def results(actions: list[Action]) -> list[tuple[Header, ObjectsResult]]:
    return [(header, body) for header, body in answers(actions) if isinstance(body, ObjectsResult)]


def warnings(actions: list[Action]) -> list[str]:
    return [f"{action.event}: {action.reason}" for action in actions if isinstance(action, Warn)]


def test_cloud_announces_itself_retained_and_its_will_goes_to_the_same_topic() -> None:
    cloud = a_cloud()
    (birth,) = cloud.announce(2, 99)
    assert isinstance(birth, Publish)
    will = cloud.will(2, 99)
    assert birth.message.topic == will.topic == TOPICS.cloud()
    assert birth.message.retain
    assert will.retain
    assert [read(birth.message)[1], read(will)[1]] == [CloudPresence(online=True), CloudPresence(online=False)]
    assert read(will)[0].cloud_epoch == 3


def test_question_is_answered_with_everything_under_its_event_id() -> None:
    objects = (an_object("a"), an_object("b"))
    actions = hear(a_cloud(*objects), GET, 0.0, 99)
    ((header, body),) = results(actions)
    assert (header.event_id, header.cloud_epoch, header.code, header.timestamp) == ("q1", 3, 200, 99)
    assert isinstance(body, ObjectsResult)
    assert replace(body, objects=objects) == everything(*objects)
    assert {item.uid for item in body.objects} == {"a", "b"}
    assert PresenceChanged(NODE) in actions


def test_question_of_a_node_that_should_have_nothing_and_has_something_is_answered_with_nothing() -> None:
    ((_, body),) = results(hear(a_cloud(), to_cloud(Verb.GET, a_get(an_object("a"))), 0.0, 0))
    assert body == everything()


def test_node_that_has_everything_is_told_so_in_one_short_answer() -> None:
    objects = [an_object(f"u{number}") for number in range(1000)]
    ((_, body),) = answers(hear(a_cloud(*objects), to_cloud(Verb.GET, a_get(*objects)), 0.0, 0))
    assert body == GetResult(object_tree(*objects).root)


def test_node_that_differs_in_one_of_many_is_told_the_buckets_their_entries_and_the_object() -> None:
    objects = [an_object(f"u{number}") for number in range(1000)]
    cloud, mine = a_cloud(*objects), [an_object("u0", 7), *objects[1:]]
    ((_, body),) = answers(hear(cloud, to_cloud(Verb.GET, a_get(*mine)), 0.0, 0))
    assert isinstance(body, GetResult)
    (bucket,) = object_tree(*mine).differing(body.buckets)
    assert bucket == bucket_of("u0")
    ((_, entries),) = answers(hear(cloud, to_cloud(Verb.GET, GetEntries((bucket, bucket, 999), ())), 0.0, 0))
    assert entries == EntriesResult(1, 1, object_tree(*objects).entries([bucket]), {})
    ((_, found),) = results(hear(cloud, to_cloud(Verb.GET, GetObjects(("u0", "gone"))), 0.0, 0))
    assert found == ObjectsResult(1, 1, (objects[0],), ("gone",))


def test_node_whose_statuses_differ_is_told_the_entries_of_those_that_the_api_server_has() -> None:
    old, new = a_report("a", 1), a_report("a", 2)
    cloud = CloudLink(3, TOPICS, LiveInventory(lambda _: (an_object("a"),), lambda _: (old,)), is_ready=True)
    question = to_cloud(Verb.GET, a_get(an_object("a"), reports=(new,)))
    ((_, body),) = answers(hear(cloud, question, 0.0, 0))
    assert isinstance(body, GetResult)
    assert (body.buckets, status_tree(new).differing(body.status_buckets)) == ("", (bucket_of("a"),))
    asked = to_cloud(Verb.GET, GetEntries((), (bucket_of("a"),)))
    ((_, entries),) = answers(hear(cloud, asked, 0.0, 0))
    assert entries == EntriesResult(1, 1, {}, status_tree(old).entries())


def test_long_answer_comes_in_parts_of_one_number() -> None:
    objects = [an_object(f"u{number:03}", url="x" * 4000) for number in range(SNAPSHOT_OBJECTS)]
    parts = results(hear(a_cloud(*objects), GET, 0.0, 0))
    assert len(parts) > 1
    assert {header.seq for header, _ in parts} == {1}
    assert [body.part for _, body in parts] == list(range(1, len(parts) + 1))
    assert {body.root for _, body in parts} == {object_tree(*objects).root}
    assert {item.uid for _, body in parts for item in body.objects} == {item.uid for item in objects}


def test_until_it_is_ready_the_cloud_says_so_and_takes_no_report() -> None:
    cloud = a_cloud(an_object("a"), is_ready=False)
    ((header, body),) = answers(hear(cloud, GET, 0.0, 0))
    assert (header.code, header.event_id, body) == (503, "q1", GetResult(""))
    update = to_cloud(Verb.STATUS_UPDATE, StatusUpdate((a_report("a"),)))
    assert not any(isinstance(action, Reported) for action in hear(cloud, update, 0.0, 0))


def test_every_push_is_newer_than_the_answer_before_it() -> None:
    cloud = a_cloud(an_object("a"))
    ((answered, _),) = results(hear(cloud, GET, 0.0, 0))
    pushes = cloud.push(NODE, [an_object("a", 2)], ["b"], 0)
    numbers = [read(push.message)[0].seq for push in pushes]
    assert answered.seq < numbers[0] < numbers[1]
    assert [read(push.message)[1] for push in pushes] == [Updated((an_object("a", 2),), ()), Updated((), ("b",))]


def test_push_of_nothing_is_no_message() -> None:
    assert a_cloud().push(NODE, [], [], 0) == []


def test_reports_are_handed_on_with_the_node_of_the_topic_and_its_epoch() -> None:
    update = StatusUpdate((a_report("a", seq=4), a_report("b", seq=5)))
    actions = hear(a_cloud(), to_cloud(Verb.STATUS_UPDATE, update, node="edge1", epoch=9), 0.0, 0)
    assert Reported("edge1", 9, update.reports) in actions


def test_verdicts_go_to_the_node_in_batches_that_it_reads() -> None:
    verdicts = [Verdict(f"u{number}", 7, number, 400, "é" * 3000) for number in range(100)]
    published = a_cloud().settle(NODE, verdicts, 0)
    assert {publish.message.topic for publish in published} == {TOPICS.node(NODE, Verb.STATUS_RESULT)}
    bodies = [read(publish.message)[1] for publish in published]
    assert [item for body in bodies if isinstance(body, StatusResult) for item in body.verdicts] == verdicts


def test_presence_of_a_node_follows_its_births_and_wills() -> None:
    cloud = a_cloud()
    online, offline = Presence(online=True, connection=1), Presence(online=False, connection=1)
    assert hear(cloud, to_cloud(Verb.PRESENCE, online), 0.0, 0) == [PresenceChanged(NODE)]
    assert PresenceChanged(NODE) not in hear(cloud, to_cloud(Verb.PRESENCE, offline), 1.0, 0)
    assert cloud.expire(1.0 + DEBOUNCE_SECONDS) == [PresenceChanged(NODE)]
    assert cloud.presence.state(NODE) is NodeState.OFFLINE
    assert PresenceChanged(NODE) in hear(cloud, GET, 60.0, 0)


def test_will_that_the_broker_replays_to_a_new_cloud_is_told() -> None:
    offline = Presence(online=False, connection=1)
    assert PresenceChanged(NODE) in hear(a_cloud(), to_cloud(Verb.PRESENCE, offline), 0.0, 0)


def test_unreadable_question_is_refused_with_the_reason_that_the_node_can_read() -> None:
    bad = raw(TOPICS.node(NODE, Verb.GET), b'{"v":2}')
    actions = hear(a_cloud(an_object("a")), bad, 0.0, 0)
    ((header, body),) = answers(actions)
    assert (header.code, body) == (426, GetResult(""))
    assert header.reason == "schema version 2; this side speaks 1"


def test_unreadable_report_is_refused_too() -> None:
    actions = hear(a_cloud(), raw(TOPICS.node(NODE, Verb.STATUS_UPDATE), b'{"v":2}'), 0.0, 0)
    ((header, body),) = [read(action.message) for action in actions if isinstance(action, Publish)]
    assert (header.code, body) == (426, StatusResult(()))


@pytest.mark.parametrize(
    "message",
    [
        raw(TOPICS.node(NODE, Verb.STATUS_UPDATE), b"\0"),
        raw(TOPICS.node(NODE, Verb.PRESENCE), codec.encode(Header("e", 0), a_get())),
        raw("some/topic", codec.encode(Header("e", 0), a_get())),
        to_cloud(Verb.GET, Updated((), ())),
        to_cloud(Verb.UPDATED, Updated((), ("a",))),
    ],
    ids=["not JSON", "wrong type", "no topic of a node", "push as a question", "node that plays cloud"],
)
def test_message_that_does_not_belong_is_counted_and_named_once(message: Received) -> None:
    cloud = a_cloud()
    assert len(warnings(hear(cloud, message, 0.0, 0))) == 1
    assert warnings(hear(cloud, message, 0.0, 0)) == []
    assert cloud.dropped == 2


def test_new_connection_of_a_node_is_warned_about_anew() -> None:
    cloud, bad = a_cloud(), raw(TOPICS.node(NODE, Verb.STATUS_UPDATE), b"{")
    hear(cloud, bad, 0.0, 0)
    hear(cloud, to_cloud(Verb.PRESENCE, Presence(online=True, connection=2)), 0.0, 0)
    assert len(warnings(hear(cloud, bad, 0.0, 0))) == 1


def test_thousands_of_strange_names_neither_grow_memory_nor_hide_the_next_one() -> None:
    cloud = a_cloud()
    for number in range(3000):
        hear(cloud, raw(TOPICS.node(f"n{number}", Verb.STATUS_UPDATE), b"{"), 0.0, 0)
    assert len(cloud._warned) <= 1000
    assert len(warnings(hear(cloud, raw(TOPICS.node(NODE, Verb.STATUS_UPDATE), b"{"), 0.0, 0))) == 1


def test_cloud_tells_a_node_the_highest_epoch_that_it_has_heard_of() -> None:
    cloud = a_cloud()
    for epoch in (9, 7):
        actions = hear(cloud, to_cloud(Verb.GET, a_get(), epoch=epoch), 0.0, 0)
        assert {read(action.message)[0].node_epoch for action in actions if isinstance(action, Publish)} == {9}


def test_cloud_asks_a_node_that_is_said_to_have_gone_whether_it_is_there() -> None:
    cloud = a_cloud()
    actions = hear(cloud, to_cloud(Verb.PRESENCE, Presence(online=False, connection=1)), 0.0, 0)
    (asked,) = [read(action.message)[1] for action in actions if isinstance(action, Publish)]
    assert asked == Updated((), ())


def heard_of(cloud_epoch: int) -> Received:
    """Return a question of a node that has heard of a cloud of this epoch."""
    payload = codec.encode(Header("e", 0, cloud_epoch=cloud_epoch, node_epoch=7), a_get())
    return raw(TOPICS.node(NODE, Verb.GET), payload)


def births(actions: list[Action]) -> list[int]:
    read_all = [read(action.message) for action in actions if isinstance(action, Publish)]
    return [header.cloud_epoch for header, body in read_all if isinstance(body, CloudPresence)]


def test_cloud_below_an_epoch_that_a_node_has_heard_of_goes_above_it_and_announces_itself() -> None:
    cloud = a_cloud()
    actions = hear(cloud, heard_of(99), 0.0, 0)
    assert births(actions) == [100]
    assert {header.cloud_epoch for header, _ in answers(actions)} == {100}
    assert births(hear(cloud, heard_of(99), 0.0, 0)) == []


def test_two_clouds_that_outbid_each_other_make_some_noise_and_no_storm() -> None:
    cloud, raised, told = a_cloud(), 0, []
    for second in range(600):
        actions = hear(cloud, heard_of(cloud.epoch + 1), float(second), 0)
        raised += len(births(actions))
        told += warnings(actions)
    assert 10 <= raised <= 15
    assert len(told) == 1
    assert "--leader-elect" in told[0]


def test_epoch_stays_at_its_limit_whatever_a_node_claims() -> None:
    cloud = a_cloud()
    hear(cloud, heard_of(messages.MAX_NUMBER), 0.0, 0)
    assert cloud.epoch == messages.MAX_NUMBER
    assert answers(hear(cloud, GET, 1.0, 0))


def test_node_of_another_cluster_is_not_heard() -> None:
    cloud = a_cloud(an_object("a"))
    cloud.cluster = "here"
    payload = codec.encode(Header("e", 0, node_epoch=7, cluster="there"), a_get())
    actions = hear(cloud, raw(TOPICS.node(NODE, Verb.GET), payload), 0.0, 0)
    assert answers(actions) == []
    assert warnings(actions) == ["message dropped: the node is of cluster there; this is here"]
    assert cloud.presence.state(NODE) is NodeState.NEVER_SEEN
