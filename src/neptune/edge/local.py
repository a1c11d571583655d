"""What programs on the node may ask and hear about its objects, in the words of KubeEdge's EventBus. No I/O.

`P/dataset/NAMESPACE/NAME/get` is answered on `.../get/result`, and each change is told on `.../updated`; the same for
`model`. `P` is the link's topic prefix. Bodies have EventBus's BaseMessage fields `event_id` and `timestamp`
(milliseconds); an answer echoes the question's `event_id`, an error has `code` and `reason`. An update has the
documents `last` and `current`, null where there was or is none.
Invariant: reading only. Nothing that a program says changes anything but the answer that it gets.
Neighbours: `agent` tells what the node has; `localside` carries the messages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from neptune.protocol.messages import DesiredObject, StatusReport
from neptune.protocol.topics import is_node_name
from neptune.transport import Message, Received

#: The kinds that have topics, each with its level of the topic, which is also the key of its document.
KINDS = {"Dataset": "dataset", "Model": "model"}
BAD_REQUEST, NOT_FOUND = 400, 404
#: An event_id is echoed, so its length is bounded.
MAX_EVENT_ID = 128
#: A question is an event_id and nothing else.
MAX_QUESTION_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _Known:
    item: DesiredObject
    report: StatusReport | None = None

    def document(self) -> dict[str, Any]:
        """Return the object as the Kubernetes API spells it, as far as the node knows it."""
        item = self.item
        found: dict[str, Any] = {
            "namespace": item.namespace,
            "name": item.name,
            "uid": item.uid,
            "generation": item.generation,
            "spec": item.spec,
        }
        if self.report is not None:
            found["status"] = _status(self.report)
        return found


class LocalView:
    """The objects of the node, by uid and by the names that topics use."""

    def __init__(self, prefix: str) -> None:
        """Know nothing yet. `prefix` is that of `protocol.topics.Topics`."""
        self._prefix = prefix
        self._known: dict[str, _Known] = {}
        self._uids: dict[str, str] = {}  # by topic, up to the verb
        self._events = 0

    @property
    def filters(self) -> tuple[str, ...]:
        """What questions come on."""
        return tuple(f"{self._prefix}/{kind}/+/+/get" for kind in KINDS.values())

    @property
    def readable(self) -> tuple[str, ...]:
        """What programs may subscribe to."""
        return tuple(f"{self._prefix}/{kind}/#" for kind in KINDS.values())

    def load(self, items: Iterable[DesiredObject], reports: Iterable[StatusReport]) -> None:
        """Take what the node remembered from before; that is no change, so nothing is told."""
        for item in items:
            if topic := self._topic(item):
                self._known[item.uid], self._uids[topic] = _Known(item), item.uid
        for report in reports:
            if report.uid in self._known:
                self._known[report.uid] = replace(self._known[report.uid], report=report)

    def stored(self, item: DesiredObject, timestamp: int) -> Message | None:
        """The node has this object now, new or changed."""
        topic = self._topic(item)
        if topic is None:
            return None
        last = self._known.get(item.uid)
        current = _Known(item, last.report if last else None)
        self._known[item.uid], self._uids[topic] = current, item.uid
        return self._updated(topic, last, current, timestamp)

    def forgotten(self, uid: str, timestamp: int) -> Message | None:
        """The node has that object no more."""
        last = self._known.pop(uid, None)
        topic = self._topic(last.item) if last else None
        if topic is None:
            return None
        if self._uids.get(topic) != uid:
            return None  # its name is another object's already, which was told
        del self._uids[topic]
        return self._updated(topic, last, None, timestamp)

    def reported(self, report: StatusReport, timestamp: int) -> Message | None:
        """The status of an object is that now."""
        last = self._known.get(report.uid)
        topic = self._topic(last.item) if last else None
        if last is None or topic is None or (last.report and _status(last.report) == _status(report)):
            return None
        current = replace(last, report=report)
        self._known[report.uid] = current
        return self._updated(topic, last, current, timestamp)

    def answer(self, question: Received, timestamp: int, *, alone: bool) -> Message | None:
        """Return the answer to a message on one of `filters`.

        What this node does not have, it denies only where it is `alone` on the broker: on a shared one the object may
        be another node's, which answers. A retained question is of nobody who waits.
        """
        levels = question.topic.removeprefix(f"{self._prefix}/").split("/")
        if question.retained or len(levels) != 4 or levels[3] != "get" or levels[0] not in KINDS.values():
            return None
        topic = question.topic.removesuffix("/get")
        known = self._known.get(self._uids.get(topic, ""))
        if known is None and not alone:
            return None
        event_id = _event_id(question.payload)
        if event_id is None:
            reason = f"not a JSON object with an event_id of {MAX_EVENT_ID} characters at most"
            body: dict[str, Any] = {"code": BAD_REQUEST, "reason": reason}
        elif known is None:
            body = {"code": NOT_FOUND, "reason": "this node has no such object"}
        else:
            body = {levels[0]: known.document()}
        return self._message(f"{topic}/get/result", event_id or "", timestamp, body)

    def _updated(self, topic: str, last: _Known | None, current: _Known | None, timestamp: int) -> Message:
        kind = topic.removeprefix(f"{self._prefix}/").partition("/")[0]
        documents = {"last": last.document() if last else None, "current": current.document() if current else None}
        return self._message(f"{topic}/updated", "", timestamp, {kind: documents})

    def _message(self, topic: str, event_id: str, timestamp: int, body: dict[str, Any]) -> Message:
        self._events += 1
        head = {"event_id": event_id or f"local-{timestamp}-{self._events}", "timestamp": timestamp}
        return Message(topic, json.dumps(head | body, separators=(",", ":")).encode())

    def _topic(self, item: DesiredObject) -> str | None:
        """Return the object's topic up to the verb, or None for one that has none."""
        kind = KINDS.get(item.kind)
        # Kubernetes' own rule for both names (RFC 1123); it also keeps wildcards and levels out of the topic.
        if kind is None or not is_node_name(item.namespace) or not is_node_name(item.name):
            return None
        return f"{self._prefix}/{kind}/{item.namespace}/{item.name}"


def _event_id(payload: bytes) -> str | None:
    """Return the event_id of a question ("" where it has none), or None when it cannot be understood."""
    if not payload.strip():
        return ""
    if len(payload) > MAX_QUESTION_BYTES:
        return None
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    found = body.get("event_id", "") if isinstance(body, dict) else None
    return found if isinstance(found, str) and len(found) <= MAX_EVENT_ID else None


def _status(report: StatusReport) -> dict[str, Any]:
    conditions = [
        {"type": each.type, "status": each.status, "reason": each.reason, "message": each.message}
        for each in report.conditions
    ]
    return {
        "numberOfSamples": report.number_of_samples,
        "updateTime": report.update_time,
        "observedGeneration": report.observed_generation,
        "conditions": conditions,
    }
