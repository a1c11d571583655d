"""Topic names and topic filters (MQTT 5, 4.7): checks, matching, and a tree of filters. No I/O.

Neighbours: `broker` finds subscribers with it; `acl` compares filters; adapters check topics before they publish.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

_MAX_BYTES = 65_535  # MQTT 5, 4.7.3: a topic is a UTF-8 string of at most this many bytes

T = TypeVar("T")


def check_topic(topic: str) -> str:
    """Return `topic` when a message may be published to it.

    Raises:
        ValueError: it is empty, too long, or holds a wildcard or NUL.
    """
    if "+" in topic or "#" in topic:
        raise ValueError(f"topic {topic!r} holds a wildcard: publish to a name without '+' and '#'")
    return _check_length(topic)


def check_filter(topic_filter: str) -> str:
    """Return `topic_filter` when it may be subscribed to.

    Raises:
        ValueError: it is empty, too long, holds NUL, or a wildcard shares its level or '#' is not the last one.
    """
    levels = topic_filter.split("/")
    for number, level in enumerate(levels, start=1):
        if level not in {"+", "#"} and ("+" in level or "#" in level):
            raise ValueError(f"filter {topic_filter!r}: a wildcard must have its level for itself")
        if level == "#" and number < len(levels):
            raise ValueError(f"filter {topic_filter!r}: '#' must be the last level")
    return _check_length(topic_filter)


def _check_length(text: str) -> str:
    if not 1 <= len(text.encode()) <= _MAX_BYTES or "\0" in text:
        raise ValueError(f"{text[:40]!r}: a topic has 1 to {_MAX_BYTES} bytes of UTF-8 without NUL")
    return text


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether a message on `topic` goes to a subscriber of `topic_filter`.

    Filters that begin with a wildcard do not see topics that begin with '$' (MQTT 5, 4.7.2).
    """
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    wanted, given = topic_filter.split("/"), topic.split("/")
    if wanted[-1] == "#":
        wanted.pop()  # `a/#` matches `a` too (4.7.1.2)
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(a in {"+", b} for a, b in zip(wanted, given, strict=True))


def covers(allowed: str, requested: str) -> bool:
    """Tell whether each topic that filter `requested` matches is matched by filter `allowed` as well."""
    if requested.startswith("$") and allowed[0] in "+#":
        return False
    wide, narrow = allowed.split("/"), requested.split("/")
    if wide[-1] == "#":
        wide.pop()
        if narrow[-1] == "#" and len(narrow) <= len(wide):
            return False
        narrow = narrow[: len(wide)]
    elif narrow[-1] == "#":
        return False
    return len(wide) == len(narrow) and all(a in {"+", b} for a, b in zip(wide, narrow, strict=True))


class TopicTree(Generic[T]):
    """Values under (filter, key), found by topic in time of the topic's levels instead of the filters' number."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def put(self, topic_filter: str, key: str, value: T) -> bool:
        """Store `value`; return whether (filter, key) was new."""
        node = self._root
        for level in topic_filter.split("/"):
            node = node.children.setdefault(level, _Node())
        new = key not in node.values
        node.values[key] = value
        return new

    def remove(self, topic_filter: str, key: str) -> bool:
        """Forget (filter, key) and branches that became empty; return whether it was there."""
        path = [self._root]
        levels = topic_filter.split("/")
        for level in levels:
            child = path[-1].children.get(level)
            if child is None:
                return False
            path.append(child)
        found = path[-1].values.pop(key, None) is not None
        for parent, level in zip(reversed(path[:-1]), reversed(levels), strict=True):
            if parent.children[level].values or parent.children[level].children:
                break
            del parent.children[level]
        return found

    def match(self, topic: str) -> Iterator[tuple[str, T]]:
        """Yield (key, value) of each filter that matches `topic`; a key comes once for each of its filters."""
        nodes = [self._root]
        for depth, level in enumerate(topic.split("/")):
            below: list[_Node[T]] = []
            for node in nodes:
                exact = node.children.get(level)
                if exact is not None:
                    below.append(exact)
                if depth == 0 and level.startswith("$"):
                    continue  # MQTT 5, 4.7.2
                any_level = node.children.get("+")
                if any_level is not None:
                    below.append(any_level)
                rest = node.children.get("#")
                if rest is not None:
                    yield from rest.values.items()
            nodes = below
        for node in nodes:
            yield from node.values.items()
            rest = node.children.get("#")
            if rest is not None:
                yield from rest.values.items()


class _Node(Generic[T]):
    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.values: dict[str, T] = {}
