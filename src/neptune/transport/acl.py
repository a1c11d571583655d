"""Access rules in the manner of mosquitto's `acl_file`: what is not allowed is denied. Pure.

Neighbours: `broker` asks the function that `authorize_by` makes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from neptune.transport.broker_types import Action, Authorize, Peer
from neptune.transport.topics import covers, matches

_ACCESS = {
    "read": {Action.READ, Action.SUBSCRIBE},
    "write": {Action.WRITE},
    "readwrite": {Action.READ, Action.SUBSCRIBE, Action.WRITE},
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Allows `access` to the topics of a filter, to one user or (None) to everybody.

    In `pattern` %u stands for the client's user name and %c for its client id: `$hw/events/node/%u/#` binds each
    node to its own topics.
    """

    access: Literal["read", "write", "readwrite"]
    pattern: str
    username: str | None = None

    def allows(self, peer: Peer, action: Action, topic: str) -> bool:
        """Tell whether this rule allows it; for SUBSCRIBE `topic` is a filter, all of which must be allowed."""
        if action not in _ACCESS[self.access] or self.username not in {None, peer.username}:
            return False
        topic_filter = _fill_in(self.pattern, peer)
        if topic_filter is None:
            return False
        return covers(topic_filter, topic) if action is Action.SUBSCRIBE else matches(topic_filter, topic)


def authorize_by(rules: Iterable[Rule]) -> Authorize:
    """Return a function for `BrokerCore(authorize=...)` that allows what one of `rules` allows."""
    known = tuple(rules)

    def authorize(peer: Peer, action: Action, topic: str) -> bool:
        return any(rule.allows(peer, action, topic) for rule in known)

    return authorize


def _fill_in(pattern: str, peer: Peer) -> str | None:
    levels = []
    for level in pattern.split("/"):
        for mark, name in (("%u", peer.username), ("%c", peer.client_id)):
            if mark in level:
                # A user called '+' would otherwise be every user, and 'a/b' somebody else's subtree.
                if not name or set(name) & set("+#/"):
                    return None
                level = level.replace(mark, name)  # noqa: PLW2901 - a level holds one mark or none
                break
        levels.append(level)
    return "/".join(levels)
