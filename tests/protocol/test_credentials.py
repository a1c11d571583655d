"""Credentials on the link: who gets them, how a question is repeated, and that nothing shows them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from neptune.protocol import codec, messages
from neptune.protocol.actions import Publish
from neptune.protocol.cloud import CloudLink, Warn
from neptune.protocol.codec import MessageError
from neptune.protocol.credentials import ASK_BASE_SECONDS, MAX_OUT, Asking, CredentialsAsked, CredentialsTold
from neptune.protocol.messages import CredentialsResult, GetCredentials
from neptune.protocol.node import Action, NodeLink
from neptune.protocol.topics import Verb
from tests.protocol.samples import NODE, TOPICS, an_object, everything, read, rng, to_cloud, to_node
from tests.support.inventory import LiveInventory

SECRET = "correct-horse"
VALUES = {"username": "us", "password": SECRET}


def a_cloud(*, is_encrypted: bool = True, is_ready: bool = True) -> CloudLink:
    """Return a cloud that has one object, of one node."""
    inventory = LiveInventory(lambda node: [an_object("u1")] if node == NODE else [])
    return CloudLink(3, TOPICS, inventory, is_ready=is_ready, is_encrypted=is_encrypted)


def asked(cloud: CloudLink, *, node: str = NODE, uid: str = "u1", encrypted: bool = True) -> CredentialsAsked:
    """Return what the cloud makes of a question; nothing else may come of it."""
    question = to_cloud(Verb.GET, GetCredentials(uid, encrypted), node=node, event_id="q1")
    actions = cloud.received(question, 0.0, 0)
    (found,) = [action for action in actions if isinstance(action, CredentialsAsked)]
    assert not any(isinstance(action, Publish) for action in actions)
    return found


def a_live_node() -> NodeLink:
    link = NodeLink(NODE, 7, TOPICS, rng())
    link.is_encrypted = True
    synchronised(link, link.connected(1, 0.0, 0))
    return link


def synchronised(link: NodeLink, actions: list[Action], now: float = 0.0) -> list[Action]:
    (question,) = [
        read(each.message)[0] for each in actions if isinstance(each, Publish) and "get" in each.message.topic
    ]
    return link.received(to_node(Verb.GET_RESULT, everything(an_object("u1")), event_id=question.event_id), now, 0)


def questions(actions: list[Action]) -> list[tuple[str, GetCredentials]]:
    found = [read(action.message) for action in actions if isinstance(action, Publish)]
    return [(header.event_id, body) for header, body in found if isinstance(body, GetCredentials)]


def told(link: NodeLink, event_id: str, *, code: int = 200, uid: str = "u1", now: float = 0.0) -> list[CredentialsTold]:
    body = CredentialsResult(uid, VALUES if code == 200 else {})
    actions = link.received(to_node(Verb.GET_RESULT, body, event_id=event_id, code=code, seq=20), now, 0)
    return [action for action in actions if isinstance(action, CredentialsTold)]


def test_a_node_may_have_those_of_its_own_object_where_both_ends_use_tls() -> None:
    assert asked(a_cloud()) == CredentialsAsked(NODE, "u1", "q1", messages.OK, "")


@pytest.mark.parametrize(("node", "uid"), [("edge1", "u1"), (NODE, "u2")])
def test_another_node_and_an_unknown_object_are_refused_alike(node: str, uid: str) -> None:
    found = asked(a_cloud(), node=node, uid=uid)
    assert (found.code, found.reason) == (messages.FORBIDDEN, "no object of this node has this uid")


def test_a_refusal_is_logged_once() -> None:
    cloud, question = a_cloud(), to_cloud(Verb.GET, GetCredentials("u2", encrypted=True))
    warned = [action for _ in range(3) for action in cloud.received(question, 0.0, 0) if isinstance(action, Warn)]
    assert [(each.event, each.node) for each in warned] == [("credentials refused", NODE)]


@pytest.mark.parametrize(
    ("cloud", "node", "who"), [(False, True, "cloud-controller"), (True, False, "edge-agent"), (False, False, "cloud")]
)
def test_without_tls_at_either_end_the_refusal_says_at_which(cloud: bool, node: bool, who: str) -> None:
    found = asked(a_cloud(is_encrypted=cloud), encrypted=node)
    assert found.code == messages.UPGRADE
    assert f"give {who}" in found.reason
    assert "mqtts://" in found.reason


def test_a_cloud_that_does_not_know_all_yet_says_nothing_about_objects() -> None:
    assert asked(a_cloud(is_ready=False), uid="u2").code == messages.UNAVAILABLE


def test_the_answer_goes_to_the_topic_of_answers_and_is_neither_kept_nor_late() -> None:
    publish = a_cloud().tell(NODE, CredentialsTold("u1", "q1", messages.OK, "", VALUES), 99)
    header, body = read(publish.message)
    assert (header.event_id, header.code, body) == ("q1", 200, CredentialsResult("u1", VALUES))
    assert publish.message.topic == TOPICS.node(NODE, Verb.GET_RESULT)
    assert not publish.message.retain
    assert publish.message.expiry_seconds


def test_an_object_that_went_to_another_node_meanwhile_takes_its_credentials_along() -> None:
    publish = a_cloud().tell("edge1", CredentialsTold("u1", "q1", messages.OK, "", VALUES), 0)
    header, body = read(publish.message)
    assert (header.code, body) == (messages.FORBIDDEN, CredentialsResult("u1"))
    assert SECRET.encode() not in publish.message.payload


def test_a_node_asks_when_it_is_told_to_and_takes_the_answer_once() -> None:
    link = a_live_node()
    assert questions(link.tick(0.0, 0)) == []
    link.asking.want("u1")
    assert link.next_deadline() == 0.0
    ((event_id, question),) = questions(link.tick(0.0, 0))
    assert question == GetCredentials("u1", encrypted=True)
    assert told(link, event_id) == [CredentialsTold("u1", event_id, 200, "", VALUES)]
    assert told(link, event_id) == []
    assert questions(link.tick(1000.0, 0)) == []


def test_a_refusal_is_an_answer_and_503_is_none() -> None:
    link = a_live_node()
    link.asking.want("u1")
    ((event_id, _),) = questions(link.tick(0.0, 0))
    assert told(link, event_id, code=messages.UNAVAILABLE) == []
    ((again, _),) = questions(link.tick(ASK_BASE_SECONDS, 0))
    (found,) = told(link, again, code=messages.NOT_FOUND, now=ASK_BASE_SECONDS)
    assert (found.code, found.values) == (messages.NOT_FOUND, {})


def test_answers_to_other_questions_and_for_other_objects_are_not_taken() -> None:
    link = a_live_node()
    link.asking.want("u1")
    ((event_id, _),) = questions(link.tick(0.0, 0))
    assert told(link, "forged") == []
    assert told(link, event_id, uid="u2") == []
    link.asking.forget("u1")
    assert told(link, event_id) == []


def test_a_question_without_an_answer_is_repeated_more_and_more_rarely() -> None:
    link = a_live_node()
    link.asking.want("u1")
    times, now = [], 0.0
    while now < 300.0:
        if questions(link.tick(now, 0)):
            times.append(now)
        now += 0.5
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert 2.5 <= gaps[0] <= 5.5
    assert 30.0 <= gaps[-1] <= 60.5


def test_a_new_connection_asks_anew_once_its_synchronisation_has_ended() -> None:
    link = a_live_node()
    link.asking.want("u1")
    assert questions(link.tick(0.0, 0))
    link.disconnected()
    begun = link.connected(2, 1.0, 0)
    assert questions(begun) == []
    assert questions(synchronised(link, begun, 1.0))


def test_only_so_many_questions_are_out_and_one_that_gets_503_lets_others_go_first() -> None:
    asking = Asking(rng())
    for number in range(MAX_OUT + 2):
        asking.want(f"u{number}")
    first = asking.due(0.0)
    assert first == [f"u{number}" for number in range(MAX_OUT)]
    for uid in first:
        asking.asked(uid, f"of {uid}", 0.0)
    assert asking.due(0.0) == []
    assert asking.answered("u3", "of u3", messages.OK)
    assert not asking.answered("u4", "of u4", messages.UNAVAILABLE)
    assert asking.due(0.0) == [f"u{MAX_OUT}", f"u{MAX_OUT + 1}"]


def test_no_text_about_them_shows_a_value() -> None:
    told_of = CredentialsTold("u1", "q1", 200, "", VALUES)
    assert SECRET not in repr([CredentialsResult("u1", VALUES), told_of])
    payload = to_node(Verb.GET_RESULT, CredentialsResult("u1", VALUES)).payload
    broken = json.loads(payload)
    broken["body"]["values"]["password"] = [SECRET]
    for wrong in (payload[:-1], json.dumps(broken).encode()):
        with pytest.raises(MessageError) as caught:
            codec.decode(wrong)
        assert SECRET not in str(caught.value)


def test_they_do_not_belong_on_other_topics() -> None:
    link = a_live_node()
    wrong = replace(to_node(Verb.GET_RESULT, CredentialsResult("u1", VALUES)), topic=TOPICS.node(NODE, Verb.UPDATED))
    assert not any(isinstance(action, CredentialsTold) for action in link.received(wrong, 0.0, 0))
    assert link.dropped == 1
