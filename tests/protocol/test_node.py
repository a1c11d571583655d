from __future__ import annotations

import pytest

from neptune.protocol import codec, messages
from neptune.protocol.actions import Publish
from neptune.protocol.desired import Change, DesiredState
from neptune.protocol.digest import bucket_of
from neptune.protocol.messages import (
    CloudPresence,
    EntriesResult,
    Get,
    GetEntries,
    GetResult,
    Header,
    Presence,
    StatusReport,
    StatusResult,
    StatusUpdate,
    Updated,
    Verdict,
)
from neptune.protocol.node import SILENCE_SECONDS, Action, NodeLink, Warn
from neptune.protocol.status import WINDOW
from neptune.protocol.topics import Verb
from neptune.protocol.turns import RESYNC_SECONDS, ROLL_CALL_SECONDS
from neptune.transport import Received
from tests.protocol.samples import (
    NODE,
    TOPICS,
    a_get,
    a_report,
    an_object,
    everything,
    object_tree,
    raw,
    read,
    rng,
    status_tree,
    to_node,
)

OBJECTS = (an_object("a"), an_object("b"))


def a_link(*, records: bool = False) -> NodeLink:
    known = {item.uid: item for item in OBJECTS} if records else {}
    return NodeLink(NODE, 7, TOPICS, rng(), "0.1.0", DesiredState(known))


def a_live_link(*, now: float = 0.0, seq: int = 10) -> NodeLink:
    link = a_link()
    answer(link, link.connected(1, now, 0), seq=seq, now=now)
    assert link.live
    return link


def said(actions: list[Action]) -> list[tuple[str, Header, messages.Body]]:
    return [(action.message.topic, *read(action.message)) for action in actions if isinstance(action, Publish)]


def question(actions: list[Action]) -> str | None:
    """Return the event_id of the only `get` among the actions, or None."""
    ids = [header.event_id for _, header, body in said(actions) if isinstance(body, Get)]
    assert len(ids) <= 1
    return ids[0] if ids else None


def reports(actions: list[Action]) -> list[StatusReport]:
    return [report for _, _, body in said(actions) if isinstance(body, StatusUpdate) for report in body.reports]


def warnings(actions: list[Action]) -> list[str]:
    return [action.event for action in actions if isinstance(action, Warn)]


def answer(link: NodeLink, actions: list[Action], *, epoch: int = 1, seq: int = 10, now: float = 0.0) -> list[Action]:
    event_id = question(actions)
    assert event_id
    said = to_node(Verb.GET_RESULT, everything(*OBJECTS), event_id=event_id, epoch=epoch, seq=seq)
    return link.received(said, now, 0)


def birth(*, epoch: int = 1, online: bool = True, retained: bool = False) -> Received:
    payload = codec.encode(Header("c", 0, cloud_epoch=epoch), CloudPresence(online))
    return Received(TOPICS.cloud(), payload, retained, 1)


def verdict(uid: str, seq: int, code: int = 200, *, epoch: int = 7) -> Received:
    return to_node(Verb.STATUS_RESULT, StatusResult((Verdict(uid, epoch, seq, code),)))


def asked_within_roll_call(link: NodeLink, now: float = 0.0) -> str | None:
    """Return the question that the link asks within the roll call, or None."""
    return question(link.tick(now + ROLL_CALL_SECONDS, 0))


def test_connection_brings_a_retained_birth_and_a_question() -> None:
    link = a_link()
    actions = link.connected(3, 5.0, 99)
    (topic, header, body), (get_topic, _, get) = said(actions)
    assert (topic, body) == (TOPICS.node(NODE, Verb.PRESENCE), Presence(online=True, connection=3, agent="0.1.0"))
    assert (header.node_epoch, header.timestamp) == (7, 99)
    assert (get_topic, get) == (TOPICS.node(NODE, Verb.GET), a_get())
    published = [action.message for action in actions if isinstance(action, Publish)]
    assert [message.retain for message in published] == [True, False]


def test_will_goes_to_the_topic_of_the_birth_and_names_the_same_connection() -> None:
    will = a_link().will(3, 0)
    header, body = read(will)
    assert (will.topic, will.retain, header.node_epoch) == (TOPICS.node(NODE, Verb.PRESENCE), True, 7)
    assert body == Presence(online=False, connection=3, agent="0.1.0")


def test_complete_answer_makes_the_link_live_and_plans_the_next_synchronisation() -> None:
    link = a_link()
    first, *_ = answer(link, link.connected(1, 0.0, 0))
    assert first == Change(OBJECTS)
    assert link.desired.records == {item.uid: item for item in OBJECTS}
    deadline = link.next_deadline()
    assert deadline is not None
    assert 0.9 * RESYNC_SECONDS <= deadline <= 1.1 * RESYNC_SECONDS
    assert question(link.tick(deadline, 0))


def test_question_without_an_answer_is_asked_again_and_the_late_answer_is_ignored() -> None:
    link = a_link()
    first = link.connected(1, 0.0, 0)
    deadline = link.next_deadline()
    assert deadline is not None
    second = link.tick(deadline, 0)
    assert question(second) != question(first)
    assert answer(link, first) == []
    assert not link.live
    answer(link, second)
    assert link.live


def test_deadline_is_always_in_the_future_after_a_tick() -> None:
    link, now = a_link(), 0.0
    link.connected(1, now, 0)
    for _ in range(100):
        deadline = link.next_deadline()
        assert deadline is not None
        assert deadline > now
        now = deadline
        assert question(link.tick(now, 0))


def test_silence_of_the_cloud_is_named_once() -> None:
    link, now = a_link(), 0.0
    link.connected(1, now, 0)
    found = []
    while now < 600:
        now = link.next_deadline() or 600
        found += warnings(link.tick(now, 0))
    assert found == ["cloud does not answer"]


def test_cloud_that_is_not_ready_is_asked_again_and_not_called_silent() -> None:
    link, now = a_link(), 0.0
    actions, found = link.connected(1, now, 0), []
    while now < 600:
        refusal = to_node(Verb.GET_RESULT, GetResult(""), event_id=question(actions) or "", code=503)
        found += warnings(link.received(refusal, now, 0))
        now = link.next_deadline() or 600
        actions = link.tick(now, 0)
        found += warnings(actions)
    assert found == []
    assert link.desired.records == {}
    assert not link.live


def test_not_ready_deletes_nothing() -> None:
    link = a_link(records=True)
    event_id = question(link.connected(1, 0.0, 0))
    refusal = to_node(Verb.GET_RESULT, GetResult(""), event_id=event_id or "", code=503)
    assert link.received(refusal, 0.0, 0) == []
    assert len(link.desired.records) == 2


def test_refusal_is_named_even_when_the_cloud_could_not_read_which_question() -> None:
    link = a_link()
    link.connected(1, 0.0, 0)
    refusal = to_node(Verb.GET_RESULT, GetResult(""), event_id="", code=400)
    assert warnings(link.received(refusal, 0.0, 0)) == ["cloud refused to synchronise"]
    assert not link.live


def test_answer_without_an_event_id_is_no_answer() -> None:
    link = a_link(records=True)
    link.connected(1, 0.0, 0)
    assert link.received(to_node(Verb.GET_RESULT, GetResult(""), event_id=""), 0.0, 0) == []
    assert len(link.desired.records) == 2


def test_statuses_wait_until_the_link_is_live() -> None:
    link = a_link(records=True)
    assert link.report(a_report("a"), 0.0, 0) == []
    actions = link.connected(1, 0.0, 0)
    assert reports(actions) == []
    assert [report.uid for report in reports(answer(link, actions))] == ["a"]


def test_status_of_an_unknown_object_is_not_kept() -> None:
    link = a_live_link()
    assert link.report(a_report("never"), 0.0, 0) == []
    assert len(link.outbox) == 0


def test_status_of_a_forgotten_object_is_given_up() -> None:
    link = a_live_link()
    link.report(a_report("a"), 0.0, 0)
    link.received(to_node(Verb.UPDATED, Updated((), ("a",)), seq=11), 0.0, 0)
    assert len(link.outbox) == 0


def test_new_connection_sends_every_latest_status_again() -> None:
    link = a_live_link()
    (sent,) = reports(link.report(a_report("a"), 0.0, 0))
    link.received(verdict("a", sent.seq), 0.0, 0)
    assert len(link.outbox) == 0
    link.disconnected()
    assert reports(answer(link, link.connected(2, 9.0, 0), seq=11, now=9.0)) == [sent]


def test_verdict_meant_for_an_earlier_process_of_this_node_settles_nothing() -> None:
    link = a_live_link()
    link.report(a_report("a"), 0.0, 0)
    link.received(verdict("a", 1000, epoch=6), 0.0, 0)
    assert len(link.outbox) == 1, "the earlier process had sent a thousand reports, this one its first"


@pytest.mark.parametrize("code", [403, 404, 409])
def test_verdict_that_tells_of_a_lost_push_leads_to_a_question(code: int) -> None:
    link = a_live_link()
    (sent,) = reports(link.report(a_report("a"), 0.0, 0))
    link.received(verdict("a", sent.seq, code), 0.0, 0)
    assert len(link.outbox) == 0
    assert asked_within_roll_call(link)


def test_verdict_that_tells_of_a_lost_push_while_a_question_is_out_leads_to_another() -> None:
    link = a_live_link()
    (sent,) = reports(link.report(a_report("a"), 0.0, 0))
    asked = link.tick(700.0, 0)
    link.received(verdict("a", sent.seq, 409), 700.0, 0)
    answer(link, asked, seq=11, now=700.0)
    assert asked_within_roll_call(link, 700.0), "the answer may have been made before the change"


def times_asked(link: NodeLink, start: float, *, until: float, has_it: bool = False) -> list[float]:
    """Return when questions came. The cloud's cache has each object; the API server, asked by a write, has none."""
    now, seq, asked = start, 100, []
    while (due := link.next_deadline()) is not None and due <= until:
        now = max(now, due)
        waiting = link.tick(now, 0)
        while waiting:
            seq += 1
            sent = reports(waiting)
            if question(waiting):
                asked.append(now)
                everywhere = everything(*OBJECTS, reports=(a_report("a"),) if has_it else ())
                waiting = link.received(
                    to_node(Verb.GET_RESULT, everywhere, event_id=question(waiting) or "", seq=seq), now, 0
                )
            else:
                waiting = link.received(verdict("a", sent[0].seq, 404), now, 0) if sent else []
    return asked


def test_node_and_a_cloud_whose_cache_is_behind_do_not_go_round_in_circles() -> None:
    link = a_live_link()
    (sent,) = reports(link.report(a_report("a"), 0.0, 0))
    link.received(verdict("a", sent.seq, 404), 0.0, 0)
    asked = times_asked(link, 0.0, until=600.0)
    assert asked[0] <= ROLL_CALL_SECONDS
    assert 10 <= len(asked) <= 26, "seven waits up to a minute, then one in 30 to 60 seconds"


def test_refusal_is_quickly_followed_by_a_question_again_once_cloud_and_node_have_agreed() -> None:
    link = a_live_link()
    (sent,) = reports(link.report(a_report("a"), 0.0, 0))
    link.received(verdict("a", sent.seq, 404), 0.0, 0)
    times_asked(link, 0.0, until=300.0)
    assert len(times_asked(link, 300.0, until=370.0, has_it=True)) == 1
    (sent,) = reports(link.report(a_report("a", 2), 400.0, 0))
    link.received(verdict("a", sent.seq, 409), 400.0, 0)
    assert asked_within_roll_call(link, 400.0)


def test_unusable_status_is_named_and_not_sent_again() -> None:
    link = a_live_link()
    (sent,) = reports(link.report(a_report("a"), 0.0, 0))
    assert warnings(link.received(verdict("a", sent.seq, 400), 0.0, 0)) == ["status refused"]
    assert len(link.outbox) == 0


def tick_until(link: NodeLink, end: float) -> list[Action]:
    actions: list[Action] = []
    while (now := link.next_deadline()) is not None and now < end:
        actions += link.tick(now, 0)
    return actions


def test_statuses_without_a_verdict_are_named_with_both_topics_once() -> None:
    link = a_live_link()
    link.report(a_report("a", 1), 0.0, 0)
    silent = [action for action in tick_until(link, 3 * SILENCE_SECONDS) if isinstance(action, Warn)]
    assert [warning.event for warning in silent] == ["statuses are not answered"]
    for verb in (Verb.STATUS_UPDATE, Verb.STATUS_RESULT):
        assert TOPICS.node(NODE, verb) in silent[0].reason


def test_statuses_that_get_their_verdicts_late_or_were_replaced_meanwhile_are_not_called_unanswered() -> None:
    link = a_live_link()
    for seq in range(1, 10):
        now = seq * SILENCE_SECONDS / 2
        link.report(a_report("a", 1), now, 0)
        verdict = StatusResult((Verdict("a", 7, seq, messages.OK),))
        assert not warnings(link.received(to_node(Verb.STATUS_RESULT, verdict), now + 4, 0))
        assert not warnings(tick_until(link, now + SILENCE_SECONDS / 2))


def test_an_object_whose_file_grows_all_the_time_does_not_hide_that_nothing_is_answered() -> None:
    link = a_live_link()
    said = [link.report(a_report("a", 1), float(now), 0) for now in range(int(SILENCE_SECONDS) + 1)]
    assert [warnings(actions) for actions in said if warnings(actions)] == [["statuses are not answered"]]


def test_hundreds_of_statuses_do_not_make_the_caller_spin() -> None:
    link = a_live_link()
    uids = [f"u{number}" for number in range(WINDOW + 50)]
    link.received(to_node(Verb.UPDATED, Updated(tuple(map(an_object, uids)), ()), seq=11), 0.0, 0)
    for uid in uids:
        link.report(a_report(uid), 0.0, 0)
    deadline = link.next_deadline()
    assert deadline is not None
    assert deadline > 0.0
    assert reports(link.tick(deadline, 0))


def test_push_of_this_cloud_is_taken_and_an_older_one_is_not() -> None:
    link = a_live_link()
    newer = an_object("a", 2)
    assert link.received(to_node(Verb.UPDATED, Updated((newer,), ()), seq=12), 0.0, 0) == [Change((newer,))]
    assert link.received(to_node(Verb.UPDATED, Updated((OBJECTS[0],), ("b",)), seq=10), 0.0, 0) == [Change()]


def test_push_of_another_cloud_leads_to_a_question() -> None:
    link = a_live_link()
    link.received(to_node(Verb.UPDATED, Updated((), ("a",)), epoch=2, seq=99), 0.0, 0)
    assert len(link.desired.records) == 2
    assert asked_within_roll_call(link)


def test_push_of_another_cloud_while_a_question_is_out_leads_to_another() -> None:
    link = a_link()
    asked = link.connected(1, 0.0, 0)
    link.received(to_node(Verb.UPDATED, Updated((an_object("c"),), ()), epoch=1, seq=11), 0.0, 0)
    answer(link, asked)
    assert asked_within_roll_call(link), "the answer is older than the push that could not be taken"


def test_two_clouds_that_push_do_not_make_a_storm_of_questions() -> None:
    link, now, questions = a_live_link(), 0.0, 0
    for number in range(1000):
        now += 0.01
        actions = link.received(to_node(Verb.UPDATED, Updated((), ("x",)), epoch=2, seq=number + 1), now, 0)
        if question(actions):
            questions += 1
            answer(link, actions, seq=100 + number, now=now)
    assert 1 <= questions <= 60, "ten seconds, and a wait of half a second on average"


@pytest.mark.parametrize("epoch", [1, 2], ids=["same cloud", "new cloud"])
def test_birth_of_the_cloud_leads_to_a_question_since_pushes_may_be_lost(epoch: int) -> None:
    link = a_live_link()
    link.received(birth(epoch=epoch), 0.0, 0)
    assert asked_within_roll_call(link)


def test_birth_replaces_a_question_that_the_cloud_before_may_have_lost() -> None:
    link = a_link()
    first = link.connected(1, 0.0, 0)
    link.received(birth(), 0.0, 0)
    second = link.tick(ROLL_CALL_SECONDS, 0)
    assert question(second) not in (None, question(first))
    answer(link, second)
    assert link.live


def test_birth_that_comes_a_hundred_times_leads_to_one_question() -> None:
    link = a_live_link()
    for _ in range(100):
        link.received(birth(epoch=2), 0.0, 0)
    assert asked_within_roll_call(link)
    assert link.tick(2 * ROLL_CALL_SECONDS, 0) == []


def test_replayed_birth_and_farewell_of_the_cloud_lead_to_nothing() -> None:
    link = a_live_link()
    link.received(birth(epoch=2, retained=True), 0.0, 0)
    link.received(birth(epoch=2, online=False), 0.0, 0)
    assert asked_within_roll_call(link) is None


def test_new_cloud_gets_every_latest_status() -> None:
    link = a_live_link()
    (sent,) = reports(link.report(a_report("a"), 0.0, 0))
    link.received(verdict("a", sent.seq), 0.0, 0)
    link.received(birth(epoch=2), 0.0, 0)
    assert reports(answer(link, link.tick(1.0, 0), epoch=2, seq=1, now=1.0)) == [sent]


def test_cloud_that_starts_anew_under_the_same_epoch_gets_every_latest_status() -> None:
    link = a_live_link(seq=1000)
    (sent,) = reports(link.report(a_report("a"), 0.0, 0))
    link.received(verdict("a", sent.seq), 0.0, 0)
    link.received(birth(), 0.0, 0)
    assert reports(answer(link, link.tick(1.0, 0), seq=1, now=1.0)) == [sent]


def test_link_without_a_connection_is_quiet() -> None:
    link = a_live_link()
    link.disconnected()
    assert link.report(a_report("a"), 0.0, 0) == []
    assert link.received(birth(epoch=2), 0.0, 0) == []
    assert link.next_deadline() is None
    assert link.tick(1e9, 0) == []
    assert question(link.connected(2, 1e9, 0))


@pytest.mark.parametrize(
    "message",
    [
        raw(TOPICS.node(NODE, Verb.UPDATED), b"{"),
        raw("somewhere/else", codec.encode(Header("e", 0, 1), Updated((), ("a",)))),
        raw(TOPICS.node("edge1", Verb.UPDATED), codec.encode(Header("e", 0, 1, seq=99), Updated((), ("a",)))),
        raw(TOPICS.node(NODE, Verb.GET_RESULT), codec.encode(Header("e", 0), a_get())),
        raw(TOPICS.node(NODE, Verb.UPDATED), codec.encode(Header("e", 0), CloudPresence(online=True))),
    ],
    ids=["not JSON", "other topic", "other node", "wrong type", "birth on a topic of the node"],
)
def test_message_that_does_not_belong_is_dropped_counted_and_named_once(message: Received) -> None:
    link = a_live_link()
    assert warnings(link.received(message, 0.0, 0)) == ["message dropped"]
    assert link.received(message, 0.0, 0) == []
    assert link.dropped == 2
    assert len(link.desired.records) == 2


def test_node_below_an_epoch_that_the_cloud_has_heard_of_goes_above_it_and_says_everything_again() -> None:
    link = a_live_link()
    reports(link.report(a_report("a"), 1.0, 0))
    link.will(1, 0)
    actions = link.received(echo(99), 2.0, 0)
    ((_, header, body),) = [item for item in said(actions) if isinstance(item[2], Presence)]
    assert (header.node_epoch, body) == (100, Presence(online=True, connection=1, agent="0.1.0", will_epoch=7))
    assert [report.uid for report in reports(actions)] == ["a"]
    assert said(link.received(echo(99), 2.0, 0)) == []


def test_two_agents_of_one_name_do_not_chase_each_other_and_each_says_so() -> None:
    link = a_live_link()
    assert said(link.received(echo(99), 2.0, 0))
    assert said(link.received(echo(200), 2.1, 0)) == []
    assert link.next_deadline() == 7.0
    assert said(link.tick(6.9, 0)) == []
    actions = link.tick(7.0, 0)
    assert [header.node_epoch for _, header, body in said(actions) if isinstance(body, Presence)] == [201]
    assert warnings(actions) == ["another agent has this name"]
    assert said(link.received(echo(300), 16.9, 0)) == []
    assert said(link.received(echo(300), 17.0, 0))


def echo(node_epoch: int) -> Received:
    """Return verdicts on nothing from a cloud that has heard of this epoch."""
    payload = codec.encode(Header("e", 0, cloud_epoch=1, node_epoch=node_epoch), StatusResult(()))
    return raw(TOPICS.node(NODE, Verb.STATUS_RESULT), payload)


def test_node_that_is_asked_whether_it_is_there_answers_with_a_question() -> None:
    link = a_live_link()
    actions = link.received(to_node(Verb.UPDATED, Updated((), ()), seq=11), 5.0, 0)
    assert question([*actions, *link.tick(5.0 + ROLL_CALL_SECONDS, 0)])


@pytest.mark.parametrize(
    "message",
    [
        to_node(Verb.UPDATED, Updated((), ("a",)), epoch=4, seq=99),
        to_node(Verb.STATUS_RESULT, StatusResult((Verdict("a", 7, 1, 200),)), epoch=4),
        birth(epoch=4),
    ],
    ids=["push", "verdict", "birth"],
)
def test_deposed_cloud_is_not_obeyed_and_told_of_its_successor(message: Received) -> None:
    link = a_link()
    answer(link, link.connected(1, 0.0, 0), epoch=5)
    link.report(a_report("a"), 0.0, 0)
    assert warnings(link.received(message, 0.0, 0)) == ["an earlier cloud speaks"]
    assert (len(link.desired.records), len(link.outbox), link.dropped) == (2, 1, 1)
    ((_, header, _),) = [item for item in said(link.tick(ROLL_CALL_SECONDS, 0)) if isinstance(item[2], Get)]
    assert header.cloud_epoch == 5


def test_answer_of_a_deposed_cloud_is_none() -> None:
    link = a_live_link()
    link.received(birth(epoch=2), 0.0, 0)
    asked = link.tick(ROLL_CALL_SECONDS, 0)
    assert warnings(answer(link, asked, epoch=1, seq=99, now=1.0)) == ["an earlier cloud speaks"]
    assert answer(link, asked, epoch=2, seq=1, now=1.0) != []


def test_replayed_birth_tells_of_an_epoch_before_any_answer() -> None:
    link = a_link()
    asked = link.connected(1, 0.0, 0)
    link.received(birth(epoch=9, retained=True), 0.0, 0)
    assert warnings(answer(link, asked, epoch=8)) == ["an earlier cloud speaks"]
    assert not link.live


def test_first_cloud_that_answers_names_the_cluster_and_others_are_not_heard_any_more() -> None:
    link = a_link()
    event_id = question(link.connected(1, 0.0, 0))
    link.received(of_cluster("here", Verb.GET_RESULT, everything(*OBJECTS), event_id=event_id or ""), 0.0, 0)
    assert link.live
    actions = link.received(of_cluster("there", Verb.UPDATED, Updated((), ("a", "b")), epoch=99), 0.0, 0)
    assert warnings(actions) == ["message dropped"]
    assert (link.cloud_epoch, len(link.desired.records)) == (1, 2)
    asked = link.tick(700.0, 0)
    assert said(asked)[0][1].cluster == "here"


def of_cluster(cluster: str, verb: Verb, body: messages.Body, *, event_id: str = "e", epoch: int = 1) -> Received:
    header = Header(event_id, 0, cloud_epoch=epoch, seq=10, cluster=cluster)
    return raw(TOPICS.node(NODE, verb), codec.encode(header, body))


def test_birth_spreads_the_nodes_as_it_says_and_two_minutes_at_most() -> None:
    asked_at = []
    for seconds in (0, 60, 10_000):
        link = a_live_link()
        payload = codec.encode(Header("c", 0, 1), CloudPresence(online=True, roll_call_seconds=seconds))
        link.received(raw(TOPICS.cloud(), payload), 0.0, 0)
        asked_at.append(link.next_deadline() or 0.0)
    assert asked_at[0] <= ROLL_CALL_SECONDS < asked_at[1] <= 60 < asked_at[2] <= 120


def test_status_that_the_api_server_has_is_not_sent_again() -> None:
    link = a_live_link()
    (sent,) = reports(link.report(a_report("a"), 0.0, 0))
    link.received(verdict("a", sent.seq), 0.0, 0)
    asked = link.connected(2, 9.0, 0)
    assert said(asked)[1][2] == a_get(*OBJECTS, reports=(a_report("a"),))
    equal = GetResult(object_tree(*OBJECTS).root)
    actions = link.received(to_node(Verb.GET_RESULT, equal, event_id=question(asked) or "", seq=11), 9.0, 0)
    assert link.live
    assert said(actions) == []


def test_status_that_the_api_server_lost_is_found_and_sent_again() -> None:
    link = a_live_link()
    for uid in ("a", "b"):
        for sent in reports(link.report(a_report(uid), 0.0, 0)):
            link.received(verdict(uid, sent.seq), 0.0, 0)
    asked = link.connected(2, 9.0, 0)
    theirs = status_tree(a_report("a"), a_report("b", 0))
    roots = GetResult(object_tree(*OBJECTS).root, "", theirs.buckets())
    actions = link.received(to_node(Verb.GET_RESULT, roots, event_id=question(asked) or "", seq=11), 9.0, 0)
    ((_, header, entries),) = said(actions)
    assert entries == GetEntries((), (bucket_of("b"),))
    found = EntriesResult(1, 1, {}, theirs.entries((bucket_of("b"),)))
    actions = link.received(to_node(Verb.GET_RESULT, found, event_id=header.event_id, seq=12), 9.0, 0)
    assert [report.uid for report in reports(actions)] == ["b"]


def test_report_of_an_earlier_generation_is_not_sent_again_however_the_cloud_differs() -> None:
    link = a_live_link()
    link.received(to_node(Verb.UPDATED, Updated((an_object("a", 2),), ()), seq=11), 0.0, 0)
    link.outbox.remember(a_report("a"))
    asked = link.connected(2, 9.0, 0)
    now = everything(an_object("a", 2), OBJECTS[1])
    actions = link.received(to_node(Verb.GET_RESULT, now, event_id=question(asked) or "", seq=12), 9.0, 0)
    assert reports(actions) == []


def test_most_objects_gone_at_once_are_kept_until_a_second_answer_and_a_person_is_told() -> None:
    many = [an_object(f"u{number}") for number in range(30)]
    link = NodeLink(NODE, 7, TOPICS, rng(), "0.1.0", DesiredState({item.uid: item for item in many}))
    asked = link.connected(1, 0.0, 0)
    empty = to_node(Verb.GET_RESULT, everything(), event_id=question(asked) or "")
    actions = link.received(empty, 0.0, 0)
    assert warnings(actions) == ["many objects to forget"]
    assert len(link.desired.records) == 30
    assert link.received(empty, 0.0, 0) == [], "the same answer twice is one answer"
    soon = link.next_deadline() or 0.0
    assert 0.0 < soon <= 5.0
    asked = link.tick(soon, 0)
    link.received(to_node(Verb.GET_RESULT, everything(), event_id=question(asked) or "", seq=2), soon, 0)
    assert link.desired.records == {}


def test_answer_that_no_longer_holds_when_it_comes_leads_to_another_question_after_a_pause() -> None:
    link = a_live_link()
    asked = link.tick(700.0, 0)
    link.received(to_node(Verb.UPDATED, Updated((an_object("c"),), ()), seq=13), 700.0, 0)
    answer(link, asked, seq=12, now=700.0)
    soon = link.next_deadline() or 0.0
    assert 700.0 < soon <= 705.0
    assert question(link.tick(soon, 0))
