"""Where each message goes: topics in the family of KubeEdge's EventBus, and how a node is named in them.

Invariant: a node's identity is read from the topic and nowhere else, because that is what a broker's access list
binds to a client. Neighbours: `messages` says what travels on the topics; `node` and `cloud` use both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from neptune.errors import SettingsError

#: EventBus's own family. Brokers that refuse `$` topics (AWS IoT Core) need another, such as `neptune/events`.
DEFAULT_PREFIX = "$hw/events"

#: RFC 1123 subdomain, the form of a Kubernetes node name; so a name never holds `/`, `+` or `#`.
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_MAX_NODE_NAME = 253


class Verb(StrEnum):
    """The last part of a node's topic: a request, its `/result`, or a push."""

    PRESENCE = "presence"
    GET = "get"
    GET_RESULT = "get/result"
    UPDATED = "updated"
    STATUS_UPDATE = "status/update"
    STATUS_RESULT = "status/update/result"


_VERBS = frozenset(verb.value for verb in Verb)
#: What a node subscribes to, and so what the cloud may write.
TO_NODE = (Verb.GET_RESULT, Verb.UPDATED, Verb.STATUS_RESULT)
#: What the cloud subscribes to, and so what a node may write.
TO_CLOUD = (Verb.PRESENCE, Verb.GET, Verb.STATUS_UPDATE)


@dataclass(frozen=True, slots=True)
class Topics:
    """Builds and reads topics below one prefix.

    Raises:
        SettingsError: the prefix is empty, starts or ends with `/`, or holds a wildcard.
    """

    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        if not self.prefix or self.prefix != self.prefix.strip("/") or re.search(r"[+#\0]", self.prefix):
            raise SettingsError(
                f"topic prefix {self.prefix!r} cannot be used: give levels without wildcards, such as neptune/events"
            )

    def node(self, node: str, verb: Verb) -> str:
        """Return the topic of one verb of one node."""
        return f"{self.prefix}/node/{node}/neptune/{verb.value}"

    def cloud(self) -> str:
        """Return the topic on which the cloud announces itself."""
        return f"{self.prefix}/neptune/cloud"

    def parse(self, topic: str) -> tuple[str, Verb] | None:
        """Return node and verb of a node's topic, or None when it is not one."""
        head = f"{self.prefix}/node/"
        node, _, rest = topic.removeprefix(head).partition("/neptune/")
        if not topic.startswith(head) or rest not in _VERBS or not is_node_name(node):
            return None
        return node, Verb(rest)

    def filters_of_node(self, node: str) -> tuple[str, ...]:
        """Return what a node subscribes to: exact topics only, since overlapping filters deliver twice."""
        return (self.cloud(), *(self.node(node, verb) for verb in TO_NODE))

    def filters_of_cloud(self) -> tuple[str, ...]:
        """Return what the cloud subscribes to."""
        return tuple(f"{self.prefix}/node/+/neptune/{verb.value}" for verb in TO_CLOUD)


def is_node_name(name: str) -> bool:
    """Tell whether a name is a DNS subdomain as Kubernetes names nodes (RFC 1123, 253 characters at most)."""
    return len(name) <= _MAX_NODE_NAME and _NODE_NAME.fullmatch(name) is not None
