"""What a node does when it hears that the cloud is there."""

from __future__ import annotations

from random import Random

import pytest

from neptune.protocol import messages
from neptune.protocol.messages import CloudPresence, Get, GetResult, Header
from neptune.protocol.node import Action, NodeLink, Publish
from neptune.protocol.topics import Topics, Verb
from neptune.transport import Message, Received

TOPICS = Topics()


def asked(actions: list[Action]) -> list[str]:
    """Return the ids of the questions among the actions."""
    decoded = [messages.decode(action.message.payload) for action in actions if isinstance(action, Publish)]
    return [header.event_id for header, body in decoded if isinstance(body, Get)]


def arrive(link: NodeLink, topic: str, header: Header, body: messages.Body, now: float) -> list[Action]:
    message = Message(topic, messages.encode(header, body))
    return link.received(Received(message.topic, message.payload, retained=False, connection=2), now, 0)


@pytest.fixture
def link() -> NodeLink:
    """Give a node that the cloud of epoch 7 has answered on its first connection, and that is on its second."""
    link = NodeLink("edge0", 1, TOPICS, Random(1))  # noqa: S311 - jitter that repeats
    (question,) = asked(link.connected(1, 0.0, 0))
    answer = Header(question, 0, cloud_epoch=7, seq=1)
    arrive(link, TOPICS.node("edge0", Verb.GET_RESULT), answer, GetResult(1, 1, ()), 0.1)
    link.disconnected()
    return link


def birth(link: NodeLink, now: float) -> list[Action]:
    return arrive(link, TOPICS.cloud(), Header("e", 0, cloud_epoch=7), CloudPresence(online=True), now)


def test_a_question_that_nobody_heard_is_asked_again_when_the_same_cloud_is_back(link: NodeLink) -> None:
    # A broker restarts, and the node is back on it before the cloud.
    assert len(asked(link.connected(2, 10.0, 0))) == 1
    assert len(asked(birth(link, 10.5))) == 1


def test_a_reconnect_of_the_cloud_that_has_answered_asks_for_nothing(link: NodeLink) -> None:
    (question,) = asked(link.connected(2, 10.0, 0))
    answer = Header(question, 0, cloud_epoch=7, seq=2)
    arrive(link, TOPICS.node("edge0", Verb.GET_RESULT), answer, GetResult(1, 1, ()), 10.1)
    assert asked(birth(link, 10.5)) == []
