"""Whatever arrives, on whatever topic: it is counted, named and dropped, and the link works on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neptune.protocol import codec
from neptune.protocol.actions import Publish
from neptune.protocol.cloud import CloudLink
from neptune.protocol.cloud import Warn as CloudWarn
from neptune.protocol.messages import Get, Header, Updated
from neptune.protocol.node import NodeLink, Warn
from neptune.protocol.topics import TO_CLOUD, TO_NODE, Verb
from neptune.transport import Received
from tests.protocol.mutations import BODIES, mutated
from tests.protocol.samples import NODE, TOPICS, a_get, an_object, everything, hear, raw, read, rng, to_cloud
from tests.support.inventory import LiveInventory

OBJECTS = (an_object("a"), an_object("b"))
#: Every topic that there is, and one that there is not.
PLACES = [TOPICS.cloud(), *(TOPICS.node(NODE, verb) for verb in Verb), "some/where"]


def envelope(**changes: object) -> bytes:
    good = json.loads(codec.encode(Header("e", 0, 1), Updated((), ("a", "b"))))
    return json.dumps({**good, **changes}).encode()


BAD = {
    "empty": b"",
    "not UTF-8": b"\xff\xfe\xfd",
    "NUL bytes": b"\0" * 1000,
    "10 MB of blanks": b" " * 10_000_000,
    "10 MB of text": json.dumps("x" * 10_000_000).encode(),
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    "huge number": b'{"v":1,"type":"sync.get","seq":1' + b"0" * 5000 + b"}",
    "NUL in a text": envelope(event_id="a\0b"),
    "half a surrogate pair": envelope(event_id="\ud800"),
    "unknown version": envelope(v=2),
    "no version": envelope(v=None),
    "unknown type": envelope(type="desired.exploded"),
    "type of no text": envelope(type={"a": 1}),
    "body of no object": envelope(body=[1]),
    "uid of no text": envelope(body={"objects": [], "deleted": [1]}),
    "objects of no list": envelope(body={"objects": {}, "deleted": []}),
    "object without a uid": envelope(body={"objects": [{"kind": "Dataset"}], "deleted": []}),
}


def a_node() -> NodeLink:
    link = NodeLink(NODE, 7, TOPICS, rng())
    assert synchronise(link)
    return link


def synchronise(link: NodeLink, connection: int = 1) -> bool:
    """Connect, and answer as an honest cloud of the epoch that the node obeys; tell whether it worked."""
    for action in link.connected(connection, 0.0, 0):
        if isinstance(action, Publish):
            asked, body = read(action.message)
            if isinstance(body, Get):
                said = Header(asked.event_id, 0, max(1, link.cloud_epoch), seq=10**6, cluster=link.cluster)
                payload = codec.encode(said, everything(*OBJECTS))
                link.received(raw(TOPICS.node(NODE, Verb.GET_RESULT), payload), 0.0, 0)
    return link.live and len(link.desired.records) == 2


def a_cloud() -> CloudLink:
    return CloudLink(3, TOPICS, LiveInventory(lambda _: OBJECTS), is_ready=True)


def answers(link: CloudLink) -> bool:
    actions = hear(link, to_cloud(Verb.GET, a_get(), event_id="honest"), 0.0, 0)
    return any(isinstance(action, Publish) and read(action.message)[0].event_id == "honest" for action in actions)


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD)
@pytest.mark.parametrize("topic", [TOPICS.cloud(), *(TOPICS.node(NODE, verb) for verb in TO_NODE)])
def test_node_counts_names_and_drops_it(topic: str, payload: bytes) -> None:
    link = a_node()
    for _ in range(3):
        named = [action for action in link.received(raw(topic, payload), 0.0, 0) if isinstance(action, Warn)]
        assert all(len(action.reason) < 500 for action in named)
    assert link.dropped == 3
    assert len(link.desired.records) == 2
    assert synchronise(link, 2)


@pytest.mark.parametrize("payload", BAD.values(), ids=BAD)
@pytest.mark.parametrize("verb", TO_CLOUD)
def test_cloud_counts_names_and_drops_it(verb: Verb, payload: bytes) -> None:
    link = a_cloud()
    message = raw(TOPICS.node(NODE, verb), payload)
    named = [action for _ in range(3) for action in link.received(message, 0.0, 0) if isinstance(action, CloudWarn)]
    assert (link.dropped, len(named)) == (3, 1)
    assert named[0].node == NODE
    assert len(named[0].reason) < 500
    assert answers(link)


@pytest.mark.parametrize("retained", [True, False])
def test_what_another_cluster_left_on_the_broker_is_dropped(retained: bool) -> None:
    link = a_node()
    link.cluster = "here"
    for place, body in zip(PLACES, [BODIES[1], *BODIES, *BODIES], strict=False):
        payload = codec.encode(Header("e", 0, 99, seq=99, cluster="there"), body)
        assert not [a for a in link.received(Received(place, payload, retained, 1), 0.0, 0) if isinstance(a, Publish)]
    assert (link.cloud_epoch, len(link.desired.records)) == (1, 2)


@settings(deadline=None, max_examples=60)  # the machine is shared
@given(st.lists(st.tuples(st.sampled_from(PLACES), mutated(), st.booleans()), max_size=12))
def test_node_lives_through_anything_and_synchronises_after_it(said: list[tuple[str, bytes, bool]]) -> None:
    link = a_node()
    for topic, payload, retained in said:
        link.received(Received(topic, payload, retained, 1), 1.0, 0)
        deadline = link.next_deadline()
        link.tick(1.0 if deadline is None else deadline, 0)
    assert synchronise(link, 2)


@settings(deadline=None, max_examples=60)  # the machine is shared
@given(st.lists(st.tuples(st.sampled_from(PLACES), mutated(), st.booleans()), max_size=12))
def test_cloud_lives_through_anything_and_answers_after_it(said: list[tuple[str, bytes, bool]]) -> None:
    link = a_cloud()
    for topic, payload, retained in said:
        link.received(Received(topic, payload, retained, 1), 1.0, 0)
        link.expire(1.0)
    assert answers(link)
