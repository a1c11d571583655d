"""The broker's logic without any network, and the habits of real brokers that it takes on when asked."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from neptune.transport import Message, Published, Received, Session
from neptune.transport.acl import Rule, authorize_by
from neptune.transport.broker import BrokerCore, Member
from neptune.transport.broker_types import (
    Delivery,
    Ended,
    Limits,
    Overflow,
    Peer,
    Publication,
    Subscription,
)
from neptune.transport.memory import MemoryTransport
from neptune.transport.retry import RetryPolicy
from tests.support.transports import closing, connect, disconnected, eventually, received, until


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime.now(UTC)


class Seen:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.ended: Ended | None = None

    @property
    def payloads(self) -> list[bytes]:
        return [delivery.publication.payload for delivery in self.deliveries]

    def deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def end(self, reason: Ended) -> None:
        self.ended = reason


def join(
    core: BrokerCore, name: str, *subscriptions: Subscription, will: Publication | None = None
) -> tuple[Member, Seen]:
    seen = Seen()
    member = core.connect(Peer(name, name), seen, will=will)
    core.replay(member, core.subscribe(member, subscriptions))
    return member, seen


def numbered(count: int) -> list[Publication]:
    return [Publication("t", b"%d" % number) for number in range(count)]


@pytest.mark.parametrize(("overflow", "kept"), [(Overflow.NEWEST, [0, 1, 2, 3, 4]), (Overflow.OLDEST, [0, 1, 7, 8, 9])])
def test_a_full_queue_drops_what_it_is_told_to_after_it_said_accepted(overflow: Overflow, kept: list[int]) -> None:
    core = BrokerCore(limits=Limits(queue_messages=3, in_flight=2), overflow=overflow)
    writer, _ = join(core, "writer")
    reader, seen = join(core, "reader", Subscription("t"))
    assert {core.publish(writer, message) for message in numbered(10)} == {Published.ACCEPTED}
    assert seen.payloads == [b"0", b"1"]
    for _ in range(10):
        core.acknowledge(reader)
    assert seen.payloads == [b"%d" % number for number in kept]
    assert core.statistics().dropped == 5


def test_a_queue_is_bounded_in_bytes() -> None:
    core = BrokerCore(limits=Limits(queue_bytes=100, in_flight=1))
    writer, _ = join(core, "writer")
    reader, seen = join(core, "reader", Subscription("t"))
    for _ in range(5):
        core.publish(writer, Publication("t", b"x" * 60))
    for _ in range(5):
        core.acknowledge(reader)
    assert len(seen.deliveries) == 2


def test_a_paused_client_gets_its_messages_at_resume_but_for_quality_zero() -> None:
    core = BrokerCore()
    writer, _ = join(core, "writer")
    reader, seen = join(core, "reader", Subscription("t"))
    core.pause(reader)
    core.publish(writer, Publication("t", b"zero", qos=0))
    core.publish(writer, Publication("t", b"one"))
    assert not seen.deliveries
    core.resume(reader)
    assert seen.payloads == [b"one"]


def test_a_message_that_expired_in_the_queue_is_left_out() -> None:
    clock = Clock()
    core = BrokerCore(clock=clock, limits=Limits(in_flight=1))
    writer, _ = join(core, "writer")
    reader, seen = join(core, "reader", Subscription("t"))
    core.publish(writer, Publication("t", b"first"))
    core.publish(writer, Publication("t", b"short", expiry_seconds=5))
    core.publish(writer, Publication("t", b"long", expiry_seconds=50))
    clock.seconds = 10
    core.acknowledge(reader)
    assert seen.payloads == [b"first", b"long"]


def test_the_lower_quality_of_message_and_subscription_counts() -> None:
    core = BrokerCore()
    writer, _ = join(core, "writer")
    _, zero = join(core, "zero", Subscription("t", qos=0))
    _, one = join(core, "one", Subscription("t", qos=1))
    core.publish(writer, Publication("t", b"1", qos=1))
    core.publish(writer, Publication("t", b"0", qos=0))
    assert [delivery.qos for delivery in zero.deliveries] == [0, 0]
    assert [delivery.qos for delivery in one.deliveries] == [1, 0]


def test_no_local_keeps_a_clients_own_messages_away() -> None:
    core = BrokerCore()
    member, seen = join(core, "a", Subscription("t", no_local=True))
    assert core.publish(member, Publication("t", b"mine")) is Published.NO_RECEIVER
    assert not seen.deliveries


def test_retain_handling_says_whether_retained_messages_are_replayed() -> None:
    core = BrokerCore()
    writer, _ = join(core, "writer")
    core.publish(writer, Publication("t", b"kept", retain=True))
    member, seen = join(core, "reader", Subscription("t", retain_handling=2))
    assert seen.payloads == []
    core.replay(member, core.subscribe(member, [Subscription("t", retain_handling=1)]))
    assert seen.payloads == []  # the subscription is not new
    core.replay(member, core.subscribe(member, [Subscription("t", retain_handling=0)]))
    assert seen.payloads == [b"kept"]


def test_the_retain_flag_stays_for_who_asks_for_it_and_identifiers_come_along() -> None:
    core = BrokerCore()
    writer, _ = join(core, "writer")
    _, seen = join(core, "reader", Subscription("t", retain_as_published=True, identifier=7))
    core.publish(writer, Publication("t", b"", retain=True))
    assert (seen.deliveries[0].retain, seen.deliveries[0].identifier) == (True, 7)


def test_a_will_goes_out_before_the_one_who_takes_over_is_in() -> None:
    core = BrokerCore()
    _, first = join(core, "a", will=Publication("will", b"gone", retain=True))
    _, second = join(core, "a", Subscription("will"))
    assert first.ended is Ended.TAKEN_OVER
    assert [delivery.retain for delivery in second.deliveries] == [True]  # replayed, not heard live


def test_a_will_to_a_forbidden_topic_is_never_published() -> None:
    core = BrokerCore(authorize=authorize_by([Rule("read", "#"), Rule("write", "allowed")]))
    _, seen = join(core, "watcher", Subscription("#"))
    for topic in ("forbidden", "allowed"):
        member, _ = join(core, "a", will=Publication(topic, b""))
        core.disconnect(member, publish_will=True)
    assert [delivery.publication.topic for delivery in seen.deliveries] == ["allowed"]


def test_a_client_that_left_is_gone_with_all_that_was_its() -> None:
    core = BrokerCore()
    member, seen = join(core, "a", Subscription("t"), Subscription("t/#"))
    core.disconnect(member, publish_will=True)
    core.disconnect(member, publish_will=True)
    writer, _ = join(core, "writer")
    assert core.publish(writer, Publication("t", b"")) is Published.NO_RECEIVER
    assert core.statistics()[:3] == (1, 0, 0)
    assert not seen.deliveries


def test_unsubscribing_says_whether_there_was_something() -> None:
    core = BrokerCore()
    member, seen = join(core, "a", Subscription("t"))
    assert core.unsubscribe(member, ["t", "t", "other"]) == [True, False, False]
    core.publish(member, Publication("t", b""))
    assert not seen.deliveries


@pytest.mark.parametrize("silent", [False, True])
async def test_what_is_denied_is_told_unless_the_broker_is_silent(silent: bool) -> None:
    core = BrokerCore(authorize=authorize_by([Rule("readwrite", "mine/%u/#")]), silent_deny=silent)
    mine = MemoryTransport(core, "client", username="edge0")
    theirs = MemoryTransport(core, "spy", username="edge1")
    async with closing(mine, theirs):
        await connect(mine, Session(("mine/edge0/#",)))
        expected = Published.ACCEPTED if silent else Published.DENIED
        assert await mine.publish(Message("mine/edge1/x", b"")) is expected
        if silent:
            await connect(theirs, Session(("mine/edge0/#", "mine/edge1/#")))
        else:
            await theirs.open(Session(("mine/edge0/#",)))
            assert "refused to subscribe mine/edge0/#: check its ACL" in (await disconnected(theirs)).reason
        await mine.publish(Message("mine/edge0/x", b"secret"))
        assert (await received(mine)).payload == b"secret"
        if silent:
            await theirs.publish(Message("mine/edge1/x", b"own"))
            assert (await received(theirs)).payload == b"own"


async def test_a_slow_reader_meets_the_brokers_limits() -> None:
    core = BrokerCore(limits=Limits(queue_messages=5, in_flight=5))
    transport = MemoryTransport(core, "slow")
    async with closing(transport):
        await connect(transport, Session(("t",)))
        for number in range(30):
            assert await transport.publish(Message("t", b"%d" % number)) is Published.ACCEPTED
        assert [(await received(transport)).payload for _ in range(10)] == [b"%d" % number for number in range(10)]
        await transport.publish(Message("t", b"after"))
        assert (await received(transport)).payload == b"after"


async def test_taking_a_message_of_the_last_connection_does_not_widen_the_window_of_this_one() -> None:
    core = BrokerCore(limits=Limits(queue_messages=100, in_flight=1))
    transport = MemoryTransport(core, "a", retry=RetryPolicy(0, 0))
    async with closing(transport):
        await connect(transport, Session(("t",)))
        await transport.publish(Message("t", b"old"))
        core.cut("a")
        await eventually(lambda: core.statistics().clients == 1)
        for payload in (b"first", b"second"):
            await transport.publish(Message("t", payload))
        assert (await received(transport)).payload == b"old"
        assert core.statistics().delivered == 2
        assert (await until(transport, Received)).payload == b"first"
        assert core.statistics().delivered == 3


def test_filters_and_retained_messages_are_bounded() -> None:
    core = BrokerCore(limits=Limits(filters=2, retained=1))
    member, seen = join(core, "a", Subscription("one"), Subscription("two"))
    third, again = core.subscribe(member, [Subscription("three"), Subscription("two")])
    assert (third.qos, again.qos) == (None, 1)
    for topic in ("one", "two", "one"):
        core.publish(member, Publication(topic, b"kept?", retain=True))
    assert len(seen.deliveries) == 3
    assert core.statistics().retained == 1
    _, late = join(core, "b", Subscription("one"), Subscription("two"))
    assert [delivery.publication.topic for delivery in late.deliveries] == ["one"]
