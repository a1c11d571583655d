"""What a reconnect costs on the wire: the two ends of the link, without I/O, and every message that they exchange.

Counted are topic and payload of each message; MQTT adds 7 to 9 bytes a message and an acknowledgement of 4. The base
is what a list of uid and version of each object would take, as OCM's resync sends it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from uuid import UUID

from benchmarks.rows import print_rows
from neptune.protocol.actions import Publish
from neptune.protocol.cloud import Asked, CloudLink
from neptune.protocol.codec import decode
from neptune.protocol.desired import DesiredState
from neptune.protocol.digest import spec_hash
from neptune.protocol.inventory import Inventory
from neptune.protocol.messages import ConditionReport, DesiredObject, StatusReport, StatusUpdate
from neptune.protocol.node import NodeLink
from neptune.protocol.topics import Topics, Verb
from neptune.transport import Message, Received

NODE, NUMBER = "edge0", 10_000
TOPICS = Topics()
_NOW_MS = 1_767_225_600_000


@dataclass(slots=True)
class Pair:
    """A cloud and a node that have the same, but for what a scenario changes. The API server writes nothing here."""

    objects: dict[str, DesiredObject]
    inventory: Inventory
    node: NodeLink
    cloud: CloudLink

    def reconnect(self) -> dict[str, int]:
        """Connect until nothing is left to say; return what it took."""
        node, cloud = self.node, self.cloud
        sent: list[Message] = []
        births = 0
        waiting = _published(node.connected(1, 0.0, _NOW_MS))
        while waiting:
            message = waiting.pop(0)
            sent.append(message)
            received = Received(message.topic, message.payload, retained=False, connection=1)
            place = TOPICS.parse(message.topic)
            assert place is not None
            births += place[1] is Verb.PRESENCE
            if place[1] in (Verb.PRESENCE, Verb.GET, Verb.STATUS_UPDATE):
                for action in cloud.received(received, 0.0, _NOW_MS):
                    said = cloud.answer(action, _NOW_MS) if isinstance(action, Asked) else [action]
                    waiting += _published(said)
            else:
                waiting += _published(node.received(received, 0.0, _NOW_MS))
        assert node.desired.digests.root == self.inventory.desired(NODE).root
        return {
            "bytes": sum(len(message.topic) + len(message.payload) for message in sent),
            "messages": len(sent) - births,
            "births": births,
            "statuses": sum(len(body.reports) for m in sent if isinstance(body := decode(m.payload)[1], StatusUpdate)),
        }


def _published(actions: object) -> list[Message]:
    assert isinstance(actions, list)
    return [action.message for action in actions if isinstance(action, Publish)]


def pair(number: int = NUMBER) -> Pair:
    """Return two ends that have `number` objects and their statuses."""
    rng = Random(1)  # noqa: S311 - the same uids each time, no secret
    objects = {item.uid: item for item in _objects(number, rng)}
    reports = {uid: _report(uid) for uid in objects}
    inventory = Inventory(lambda _node, uid: objects.get(uid))
    node = NodeLink(NODE, _NOW_MS, TOPICS, rng, "neptune-edge/0.1.0", DesiredState(dict(objects)))
    node.cluster = str(UUID(int=rng.getrandbits(128)))
    for uid, item in objects.items():
        inventory.put(uid, {NODE: (item, reports[uid])})
        node.outbox.remember(reports[uid])
    cloud = CloudLink(_NOW_MS, TOPICS, inventory, is_ready=True, cluster=node.cluster)
    return Pair(objects, inventory, node, cloud)


def _objects(number: int, rng: Random) -> Iterator[DesiredObject]:
    for index in range(number):
        spec = {"url": f"/var/lib/neptune/data/set-{index}.txt", "format": "txt", "nodeName": NODE}
        uid = str(UUID(int=rng.getrandbits(128)))
        yield DesiredObject("Dataset", "default", f"dataset-{index}", uid, 1, spec, spec_hash(spec))


def _report(uid: str, samples: int = 1000) -> StatusReport:
    ready = ConditionReport("Ready", "True", "Counted", f"{samples} samples")
    return StatusReport(uid, 0, 1, samples, "2026-01-01T00:00:00Z", (ready,))


def scenarios() -> Iterator[tuple[str, Pair]]:
    """Give each thing that may have happened while the node was away."""
    yield "unchanged", pair()
    one = pair()
    uid, item = next(iter(one.objects.items()))
    spec = {**item.spec, "url": "/var/lib/neptune/data/other.txt"}
    one.objects[uid] = replace(item, generation=2, spec=spec, hash=spec_hash(spec))
    one.inventory.put(uid, {NODE: (one.objects[uid], _report(uid))})
    yield "one object changed", one
    gone = pair()
    gone.inventory.put(next(iter(gone.objects)), {})
    yield "one object deleted", gone
    lost = pair()
    lost.node.outbox.remember(_report(next(iter(lost.objects)), 1001))
    yield "one status lost", lost
    empty = pair()
    empty.node.desired = DesiredState()
    yield "empty disk", empty


def main() -> None:
    """Print a row a scenario."""
    made = list(scenarios())
    listed = {uid: item.generation for uid, item in made[0][1].objects.items()}
    rows: list[dict[str, object]] = [{"contestant": "list of uid and version", "bytes": len(json.dumps(listed))}]
    for name, ends in made:
        started = time.process_time()
        result = ends.reconnect()
        rows.append({"contestant": name, **result, "cpu_ms": round((time.process_time() - started) * 1000, 1)})
    print_rows(f"reconnect at {NUMBER} datasets", rows, ["bytes"], to=["list of uid and version"])


if __name__ == "__main__":
    main()
