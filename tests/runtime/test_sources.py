from __future__ import annotations

from neptune.api.meta import ResourceKey
from neptune.runtime import Mailbox
from tests.runtime.widgets import key


def test_the_newest_value_of_a_key_wins_and_is_there_when_the_key_comes() -> None:
    box = Mailbox[int]()
    seen: list[int | None] = []
    box.start(lambda each: seen.append(box.peek(each)))
    box.put(key("a"), 1)
    box.put(key("a"), 2)
    assert seen == [1, 2]
    assert box.take(key("a")) == 2
    assert box.take(key("a")) is None


def test_what_came_before_the_start_is_enqueued_at_the_start() -> None:
    box = Mailbox[int]()
    box.put(key("a"), 1)
    enqueued: list[ResourceKey] = []
    box.start(enqueued.append)
    assert enqueued == [key("a")]


def test_a_full_mailbox_refuses_new_keys_and_still_takes_news_of_known_ones() -> None:
    box = Mailbox[int](max_keys=1)
    assert box.put(key("a"), 1)
    assert not box.put(key("b"), 1)
    assert box.put(key("a"), 2)
    assert (len(box), box.refused, box.peek(key("b"))) == (1, 1, None)


def test_discard_spares_a_value_that_came_meanwhile() -> None:
    box = Mailbox[str]()
    box.put(key("a"), "old")
    value = box.peek(key("a"))
    assert value is not None
    box.put(key("a"), "new")
    assert not box.discard(key("a"), value)
    assert box.discard(key("a"), "new")
    assert box.peek(key("a")) is None
    assert not box.discard(key("a"), box.peek(key("a")))
