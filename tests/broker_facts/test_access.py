"""What mosquitto's access list checks, and what it answers. See `test_queues` for how to read a failure."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.broker_facts.peer import Peer
from tests.support.mosquitto import Mosquitto

SUCCESS, NO_MATCHING_SUBSCRIBERS, NOT_AUTHORISED = 0, 16, 135
ACL = """
topic readwrite mark/#
pattern readwrite mark/#
pattern write nodes/%u/out
pattern read nodes/%u/in
user cloud
topic readwrite nodes/#
topic readwrite $hw/#
user everything
topic readwrite #
"""


@pytest.fixture
def guarded(start_mosquitto: Callable[..., Mosquitto], tmp_path: Path) -> Mosquitto:
    acl, passwords = tmp_path / "acl", tmp_path / "passwords"
    acl.write_text(ACL)
    passwords.write_text("".join(f"{name}:{name}\n" for name in ("edge0", "edge1", "cloud", "everything", "+")))
    passwords.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", passwords], check=True, timeout=10)
    return start_mosquitto(config=f"password_file {passwords}\nacl_file {acl}\n")


@pytest.mark.parametrize("version", [5, 4])
def test_a_subscription_is_granted_whatever_the_list_says_and_filtered_later(guarded: Mosquitto, version: int) -> None:
    """Consequence: SUBACK is no proof of a right. Only an answer of the cloud is; its absence is what gets named."""
    with Peer(guarded.port, user="edge0", version=version) as node, Peer(guarded.port, user="cloud") as cloud:
        assert node.subscribe("nodes/edge1/in", "nodes/+/in", "#") == [1, 1, 1]
        cloud.publish("nodes/edge1/in", b"theirs")
        cloud.publish("nodes/edge0/in", b"ours")
        assert set(node.all_heard()) == {b"ours"}


def test_a_denied_publish_is_told_with_mqtt_5_and_looks_like_success_with_3(guarded: Mosquitto) -> None:
    """Consequence: `Published.ACCEPTED` says nothing with MQTT 3.1.1; the protocol waits for the cloud's answer."""
    for version, answer in ((5, NOT_AUTHORISED), (4, SUCCESS)):
        with Peer(guarded.port, user="edge0", version=version) as node:
            assert node.publish("nodes/edge1/out") == answer


def test_a_right_to_everything_is_none_to_dollar_topics(guarded: Mosquitto) -> None:
    """Consequence: deploy/broker names `$hw/events/...` in each line."""
    with Peer(guarded.port, user="everything") as peer:
        assert peer.publish("$hw/x") == NOT_AUTHORISED
        assert peer.publish("hw/x") == NO_MATCHING_SUBSCRIBERS


def test_a_will_to_a_forbidden_topic_is_taken_and_never_sent(guarded: Mosquitto) -> None:
    """Consequence: a node that may not write its presence is never seen to leave; its birth is denied too, and told."""
    with Peer(guarded.port, user="cloud") as cloud:
        cloud.subscribe("nodes/+/out")
        for name, wills in (("edge1", []), ("edge0", [b"will"])):
            with (
                Peer(guarded.port, user="edge0", client_id="node", will=f"nodes/{name}/out"),
                Peer(guarded.port, user="edge0", client_id="node") as second,
            ):
                second.publish("mark/x")
                assert cloud.all_heard() == wills


def test_a_user_whose_name_is_a_wildcard_gets_nothing_by_patterns(guarded: Mosquitto) -> None:
    """Consequence: `transport.acl` does the same, and `neptune certs node` refuses such names."""
    with Peer(guarded.port, user="+") as peer:
        assert peer.publish("nodes/edge0/out") == NOT_AUTHORISED
