"""What mosquitto keeps and drops. A fact that fails here is news: read the consequence before changing the fact."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.broker_facts.peer import Peer
from tests.support.mosquitto import ANYBODY, Mosquitto

StartMosquitto = Callable[..., Mosquitto]
SUCCESS, NO_MATCHING_SUBSCRIBERS = 0, 16


def numbered(number: int, topic: str = "t") -> list[tuple[str, bytes]]:
    return [(topic, b"%d" % each) for each in range(number)]


def payloads(first: int, last: int) -> list[bytes]:
    return [b"%d" % each for each in range(first, last)]


def test_a_full_queue_of_an_absent_client_drops_the_newest_after_success(start_mosquitto: StartMosquitto) -> None:
    """Consequence: PUBACK proves nothing, and no session is kept: what is lost is the latest state."""
    port = start_mosquitto().port
    with Peer(port, client_id="away", durable=True) as away:
        away.subscribe("t")
    with Peer(port) as writer:
        assert set(writer.publish_all(numbered(1100))) == {SUCCESS}
    with Peer(port, client_id="away", durable=True) as away:
        assert away.all_heard() == payloads(0, 1000)


def test_a_slow_client_that_is_there_loses_the_newest_after_success(start_mosquitto: StartMosquitto) -> None:
    """Consequence: being connected is no guarantee either; statuses are sent until the cloud acknowledges them."""
    port = start_mosquitto(config=f"{ANYBODY}max_queued_messages 10\n").port
    with Peer(port, acknowledges=False) as slow, Peer(port) as writer:
        slow.subscribe("t")
        assert set(writer.publish_all(numbered(100))) == {SUCCESS}
        first = [slow.heard.get(timeout=10) for _ in range(20)]  # max_inflight_messages
        slow.acknowledge(first)
        rest = slow.hear(10)
        assert [bytes(message.payload) for message in first] + rest == payloads(0, 30)


def test_retained_messages_behind_a_wildcard_are_cut_off_at_the_queue(start_mosquitto: StartMosquitto) -> None:
    """Consequence: desired state is no set of retained messages, and retained presence is only a hint."""
    port = start_mosquitto(config=f"{ANYBODY}max_queued_messages 10\n").port
    with Peer(port) as writer:
        writer.publish_all([(f"r/{each}", b"x") for each in range(40)], retain=True)
    with Peer(port) as once:
        once.subscribe("r/+", qos=1)
        assert len(once.all_heard()) < 40
    with Peer(port) as never:
        never.subscribe("r/+", qos=0)
        assert len(never.hear(40)) == 40


def test_a_killed_broker_forgets_what_it_persists(
    start_mosquitto: StartMosquitto, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Consequence: persistence is off in deploy/broker; both sides say everything again."""
    folder = tmp_path_factory.mktemp("persisted")
    broker = start_mosquitto(config=f"{ANYBODY}persistence true\npersistence_location {folder}/\n")
    with Peer(broker.port) as writer:
        writer.publish("t", b"kept?", retain=True)
    broker.kill()
    broker.start()
    with Peer(broker.port) as reader:
        reader.subscribe("t")
        assert reader.all_heard() == []


def test_shared_subscriptions_give_an_absent_member_its_share(start_mosquitto: StartMosquitto) -> None:
    """Consequence: controllers do not share a subscription; one leads."""
    port = start_mosquitto().port
    with Peer(port, client_id="away", durable=True) as away:
        away.subscribe("$share/g/t")
    with Peer(port) as present, Peer(port) as writer:
        present.subscribe("$share/g/t")
        writer.publish_all(numbered(50))
        assert len(present.all_heard()) == 25


def test_overlapping_filters_deliver_twice_with_mqtt_5(start_mosquitto: StartMosquitto) -> None:
    """Consequence: a node subscribes to exact topics, each once."""
    port = start_mosquitto().port
    for version, times in ((5, 2), (4, 1)):
        with Peer(port, version=version) as reader:
            reader.subscribe("t/a", "t/+")
            reader.publish("t/a")
            assert len(reader.all_heard()) == times


def test_a_topic_that_nobody_reads_is_hinted_at(start_mosquitto: StartMosquitto) -> None:
    """Consequence: `Published.NO_RECEIVER`, a hint that a node is away."""
    with Peer(start_mosquitto().port) as writer:
        assert writer.publish("t") == NO_MATCHING_SUBSCRIBERS
        writer.subscribe("t")
        assert writer.publish("t") == SUCCESS


def test_dollar_topics_travel_and_wildcards_do_not_see_them(start_mosquitto: StartMosquitto) -> None:
    """Consequence: EventBus's family `$hw/events` works here; for brokers that refuse it the prefix is a setting."""
    with Peer(start_mosquitto().port) as peer:
        peer.subscribe("#", "+/events/x", "$hw/events/+")
        assert peer.publish("$hw/events/x") == SUCCESS
        assert len(peer.all_heard()) == 1


@pytest.mark.parametrize(("durable", "wills"), [(False, [b"will"]), (True, [])])
def test_a_take_over_publishes_the_will_of_a_clean_session_only(
    start_mosquitto: StartMosquitto, durable: bool, wills: list[bytes]
) -> None:
    """Consequence: sessions are clean, and a will carries the number of its connection, since it may come late."""
    port = start_mosquitto().port
    with Peer(port) as watcher:
        watcher.subscribe("presence")
        with (
            Peer(port, client_id="node", durable=durable, will="presence"),
            Peer(port, client_id="node", durable=durable) as second,
        ):
            second.publish("end")
            assert watcher.all_heard() == wills
