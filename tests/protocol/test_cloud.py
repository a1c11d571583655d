from __future__ import annotations

import pytest

from neptune.protocol import messages
from neptune.protocol.actions import Publish
from neptune.protocol.cloud import Action, CloudLink, PresenceChanged, Reported, Warn
from neptune.protocol.messages import (
    CloudPresence,
    DesiredObject,
    Get,
    GetResult,
    Header,
    Presence,
    StatusResult,
    StatusUpdate,
    Updated,
    Verdict,
)
from neptune.protocol.presence import DEBOUNCE_SECONDS, NodeState
from neptune.protocol.topics import Verb
from neptune.transport import Received
from tests.protocol.samples import NODE, TOPICS, a_report, an_object, raw, read, to_cloud

GET = to_cloud(Verb.GET, Get(), event_id="q1")


def a_cloud(*objects: DesiredObject, is_ready: bool = True) -> CloudLink:
    """Return a cloud where all the objects are those of every node."""
    return CloudLink(3, TOPICS, lambda node: objects, is_ready=is_ready)


def results(actions: list[Action]) -> list[tuple[Header, GetResult]]:
    found = []
    for action in actions:
        if isinstance(action, Publish):
            header, body = read(action.message)
            assert isinstance(body, GetResult)
            found.append((header, body))
    return found


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
    actions = a_cloud(*objects).received(GET, 0.0, 99)
    ((header, body),) = results(actions)
    assert (header.event_id, header.cloud_epoch, header.code, header.timestamp) == ("q1", 3, 200, 99)
    assert body == GetResult(1, 1, objects)
    assert PresenceChanged(NODE) in actions


def test_question_of_a_node_without_objects_is_answered_with_nothing() -> None:
    ((_, body),) = results(a_cloud().received(GET, 0.0, 0))
    assert body == GetResult(1, 1, ())


def test_long_answer_comes_in_parts_of_one_number() -> None:
    objects = [an_object(f"u{number}", url="x" * 1000) for number in range(200)]
    parts = results(a_cloud(*objects).received(GET, 0.0, 0))
    assert len(parts) > 2
    assert {header.seq for header, _ in parts} == {1}
    assert [body.part for _, body in parts] == list(range(1, len(parts) + 1))
    assert [item for _, body in parts for item in body.objects] == objects


def test_until_it_is_ready_the_cloud_says_so_and_takes_no_report() -> None:
    cloud = a_cloud(an_object("a"), is_ready=False)
    ((header, body),) = results(cloud.received(GET, 0.0, 0))
    assert (header.code, header.event_id, body.objects) == (503, "q1", ())
    update = to_cloud(Verb.STATUS_UPDATE, StatusUpdate((a_report("a"),)))
    assert not any(isinstance(action, Reported) for action in cloud.received(update, 0.0, 0))


def test_every_push_is_newer_than_the_answer_before_it() -> None:
    cloud = a_cloud(an_object("a"))
    ((answered, _),) = results(cloud.received(GET, 0.0, 0))
    pushes = cloud.push(NODE, [an_object("a", 2)], ["b"], 0)
    numbers = [read(push.message)[0].seq for push in pushes]
    assert answered.seq < numbers[0] < numbers[1]
    assert [read(push.message)[1] for push in pushes] == [Updated((an_object("a", 2),), ()), Updated((), ("b",))]


def test_push_of_nothing_is_no_message() -> None:
    assert a_cloud().push(NODE, [], [], 0) == []


def test_object_that_no_message_can_carry_does_not_hold_up_the_others() -> None:
    large, small = an_object("large", url="x" * messages.MAX_MESSAGE_BYTES), an_object("small")
    cloud = a_cloud(large, small)
    actions = cloud.received(GET, 0.0, 0)
    ((_, body),) = results(actions)
    assert body.objects == (small,)
    (warning,) = warnings(actions)
    assert warning.startswith("object too large: Dataset default/name-large is larger than 65536 bytes")
    (push,) = cloud.push(NODE, [large, small], [], 0)
    assert read(push.message)[1] == Updated((small,), ())


def test_reports_are_handed_on_with_the_node_of_the_topic_and_its_epoch() -> None:
    update = StatusUpdate((a_report("a", seq=4), a_report("b", seq=5)))
    actions = a_cloud().received(to_cloud(Verb.STATUS_UPDATE, update, node="edge1", epoch=9), 0.0, 0)
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
    assert cloud.received(to_cloud(Verb.PRESENCE, online), 0.0, 0) == [PresenceChanged(NODE)]
    assert cloud.received(to_cloud(Verb.PRESENCE, offline), 1.0, 0) == []
    assert cloud.expire(1.0 + DEBOUNCE_SECONDS) == [PresenceChanged(NODE)]
    assert cloud.presence.state(NODE) is NodeState.OFFLINE
    assert PresenceChanged(NODE) in cloud.received(GET, 60.0, 0)


def test_will_that_the_broker_replays_to_a_new_cloud_is_told() -> None:
    offline = Presence(online=False, connection=1)
    assert a_cloud().received(to_cloud(Verb.PRESENCE, offline), 0.0, 0) == [PresenceChanged(NODE)]


def test_unreadable_question_is_refused_with_the_reason_that_the_node_can_read() -> None:
    bad = raw(TOPICS.node(NODE, Verb.GET), b'{"v":2}')
    actions = a_cloud(an_object("a")).received(bad, 0.0, 0)
    ((header, body),) = results(actions)
    assert (header.code, body.objects) == (426, ())
    assert header.reason == "schema version 2; this side speaks 1"


@pytest.mark.parametrize(
    "message",
    [
        raw(TOPICS.node(NODE, Verb.STATUS_UPDATE), b"\0"),
        raw(TOPICS.node(NODE, Verb.PRESENCE), messages.encode(Header("e", 0), Get())),
        raw("some/topic", messages.encode(Header("e", 0), Get())),
        to_cloud(Verb.GET, Updated((), ())),
        to_cloud(Verb.UPDATED, Updated((), ("a",))),
    ],
    ids=["not JSON", "wrong type", "no topic of a node", "push as a question", "node that plays cloud"],
)
def test_message_that_does_not_belong_is_counted_and_named_once(message: Received) -> None:
    cloud = a_cloud()
    assert len(warnings(cloud.received(message, 0.0, 0))) == 1
    assert warnings(cloud.received(message, 0.0, 0)) == []
    assert cloud.dropped == 2


def test_new_connection_of_a_node_is_warned_about_anew() -> None:
    cloud, bad = a_cloud(), raw(TOPICS.node(NODE, Verb.STATUS_UPDATE), b"{")
    cloud.received(bad, 0.0, 0)
    cloud.received(to_cloud(Verb.PRESENCE, Presence(online=True, connection=2)), 0.0, 0)
    assert len(warnings(cloud.received(bad, 0.0, 0))) == 1


def test_thousands_of_strange_names_neither_grow_memory_nor_hide_the_next_one() -> None:
    cloud = a_cloud()
    for number in range(3000):
        cloud.received(raw(TOPICS.node(f"n{number}", Verb.STATUS_UPDATE), b"{"), 0.0, 0)
    assert len(cloud._warned) <= 1000
    assert len(warnings(cloud.received(raw(TOPICS.node(NODE, Verb.STATUS_UPDATE), b"{"), 0.0, 0))) == 1


def test_cloud_tells_a_node_the_highest_epoch_that_it_has_heard_of() -> None:
    cloud = a_cloud()
    for epoch in (9, 7):
        actions = cloud.received(to_cloud(Verb.GET, Get(), epoch=epoch), 0.0, 0)
        assert {read(action.message)[0].node_epoch for action in actions if isinstance(action, Publish)} == {9}
