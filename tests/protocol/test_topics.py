from __future__ import annotations

import pytest

from neptune.errors import SettingsError
from neptune.protocol.topics import TO_CLOUD, TO_NODE, Topics, Verb, is_node_name


@pytest.mark.parametrize("verb", Verb)
@pytest.mark.parametrize("prefix", ["$hw/events", "neptune/events", "a"])
def test_topic_of_every_verb_is_read_back(prefix: str, verb: Verb) -> None:
    topics = Topics(prefix)
    assert topics.parse(topics.node("edge0.site-1", verb)) == ("edge0.site-1", verb)


def test_default_topics_are_in_the_family_of_the_event_bus() -> None:
    topics = Topics()
    assert topics.node("edge0", Verb.STATUS_RESULT) == "$hw/events/node/edge0/neptune/status/update/result"
    assert topics.cloud() == "$hw/events/neptune/cloud"


def test_longest_topic_has_at_most_the_seven_slashes_of_aws_iot_core() -> None:
    assert max(Topics().node("n", verb).count("/") for verb in Verb) <= 7


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "$hw/events/neptune/cloud",
        "$hw/events/node/edge0/neptune/",
        "$hw/events/node/edge0/neptune/get/",
        "$hw/events/node/edge0/neptune/get/result/x",
        "$hw/events/node//neptune/get",
        "$hw/events/node/Edge0/neptune/get",
        "$hw/events/node/a/b/neptune/get",
        "$hw/events/node/a/neptune/b/neptune/get",
        "x/$hw/events/node/edge0/neptune/get",
        "hw/events/node/edge0/neptune/get",
        "$hw/events/node/+/neptune/get",
    ],
)
def test_what_is_no_topic_of_a_node_is_none(topic: str) -> None:
    assert Topics().parse(topic) is None


@pytest.mark.parametrize("prefix", ["", "/", "/a", "a/", "a/+", "#", "a\0"])
def test_prefix_that_no_broker_takes_is_refused_with_an_example(prefix: str) -> None:
    with pytest.raises(SettingsError, match="such as neptune/events"):
        Topics(prefix)


def test_filters_of_a_node_are_exact_and_those_of_the_cloud_cover_what_nodes_write() -> None:
    topics = Topics("p")
    assert topics.filters_of_node("a") == (
        "p/neptune/cloud",
        "p/node/a/neptune/get/result",
        "p/node/a/neptune/updated",
        "p/node/a/neptune/status/update/result",
    )
    assert topics.filters_of_cloud() == (
        "p/node/+/neptune/presence",
        "p/node/+/neptune/get",
        "p/node/+/neptune/status/update",
    )


def test_each_verb_has_one_direction() -> None:
    assert set(TO_NODE) | set(TO_CLOUD) == set(Verb)
    assert not set(TO_NODE) & set(TO_CLOUD)


@pytest.mark.parametrize("name", ["a", "0", "edge-0", "a.b", "a--b", "a" * 253])
def test_names_that_kubernetes_gives_nodes(name: str) -> None:
    assert is_node_name(name)


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a..b", ".a", "a.", "a/b", "a b", "a_b", "é", "a\n", "a" * 254])
def test_names_that_no_node_has(name: str) -> None:
    assert not is_node_name(name)
