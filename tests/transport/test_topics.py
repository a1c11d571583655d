"""Topic names and filters: the examples of the specification, and laws that hold for all."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from neptune.transport.topics import TopicTree, check_filter, check_topic, covers, matches

LEVEL = st.sampled_from(["a", "b", "", "$s"])
TOPIC = st.lists(LEVEL, min_size=1, max_size=4).map("/".join).filter(bool)
FILTER = st.tuples(
    st.lists(LEVEL | st.just("+"), min_size=0, max_size=4), st.sampled_from([[], ["#"]])
).map(lambda parts: "/".join(parts[0] + parts[1])).filter(bool)  # fmt: skip


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        # MQTT 5, 4.7.1.2 and 4.7.1.3
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("#", "sport/tennis", True),
        ("sport/tennis/+", "sport/tennis/player1", True),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        # 4.7.2
        ("#", "$SYS/broker", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        # 4.7.3: case and slashes count
        ("ACCOUNTS", "Accounts", False),
        ("/finance", "finance", False),
    ],
)
def test_the_examples_of_the_specification_hold(topic_filter: str, topic: str, expected: bool) -> None:
    assert matches(topic_filter, topic) is expected


@given(st.dictionaries(st.tuples(FILTER, st.sampled_from("xyz")), st.integers(), max_size=8), TOPIC)
def test_the_tree_finds_what_one_filter_after_the_other_finds(stored: dict[tuple[str, str], int], topic: str) -> None:
    tree: TopicTree[int] = TopicTree()
    for (topic_filter, key), value in stored.items():
        assert tree.put(topic_filter, key, value)
    expected = sorted((key, value) for (topic_filter, key), value in stored.items() if matches(topic_filter, topic))
    assert sorted(tree.match(topic)) == expected


@given(st.sets(FILTER, max_size=8), st.data())
def test_a_filter_that_was_removed_is_not_found_and_others_are(filters: set[str], data: st.DataObject) -> None:
    tree: TopicTree[str] = TopicTree()
    for topic_filter in filters:
        tree.put(topic_filter, "key", topic_filter)
    gone = data.draw(st.sets(st.sampled_from(sorted(filters)))) if filters else set()
    for topic_filter in gone:
        assert tree.remove(topic_filter, "key")
        assert not tree.remove(topic_filter, "key")
    topic = data.draw(TOPIC)
    assert {found for _, found in tree.match(topic)} == {f for f in filters - gone if matches(f, topic)}


def test_a_tree_without_filters_keeps_no_branches() -> None:
    tree: TopicTree[int] = TopicTree()
    tree.put("a/b/c", "key", 1)
    tree.put("a/b", "key", 2)
    tree.remove("a/b/c", "key")
    assert list(tree.match("a/b")) == [("key", 2)]
    tree.remove("a/b", "key")
    assert not tree._root.children


@given(FILTER, FILTER, TOPIC)
@example("a/+/#", "a/#", "a")  # `#` stands for no level too
@example("#", "$s/#", "$s/a")
@example("+/a", "$s/a", "$s/a")
def test_what_a_filter_covers_it_matches(allowed: str, requested: str, topic: str) -> None:
    if covers(allowed, requested) and matches(requested, topic):
        assert matches(allowed, topic)


@given(FILTER)
def test_a_filter_covers_itself(topic_filter: str) -> None:
    assert covers(topic_filter, topic_filter)


@given(FILTER, TOPIC)
def test_covering_a_topic_is_matching_it(allowed: str, topic: str) -> None:
    assert covers(allowed, topic) is matches(allowed, topic)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0b", "ä" * 32_768])
def test_a_topic_that_is_none_is_refused(topic: str) -> None:
    with pytest.raises(ValueError, match=r"topic|wildcard"):
        check_topic(topic)


@pytest.mark.parametrize("topic_filter", ["", "a#", "a/#/b", "a+/b", "a\0"])
def test_a_filter_that_is_none_is_refused(topic_filter: str) -> None:
    with pytest.raises(ValueError, match=r"filter|topic"):
        check_filter(topic_filter)
