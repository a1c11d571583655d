"""Values that the protocol's tests share."""

from __future__ import annotations

from random import Random

from neptune.protocol import codec, messages
from neptune.protocol.cloud import Action, Asked, CloudLink
from neptune.protocol.digest import DigestTree, object_entry, spec_hash, status_entry
from neptune.protocol.messages import Body, DesiredObject, Get, Header, ObjectsResult, StatusReport, Verdict
from neptune.protocol.topics import Topics, Verb
from neptune.transport import Message, Received

TOPICS = Topics()
NODE = "edge0"


def an_object(uid: str, generation: int = 1, *, url: str = "/data") -> DesiredObject:
    spec = {"url": url, "format": "txt"}
    return DesiredObject("Dataset", "default", f"name-{uid}", uid, generation, spec, spec_hash(spec))


def a_report(uid: str, samples: int | None = 1, *, generation: int = 1, seq: int = 0) -> StatusReport:
    return StatusReport(uid, seq, generation, samples, "2026-01-31T12:00:00Z", ())


def a_verdict(report: StatusReport, code: int = messages.OK, *, epoch: int = 7) -> Verdict:
    return Verdict(report.uid, epoch, report.seq, code)


def a_get(*objects: DesiredObject, reports: tuple[StatusReport, ...] = ()) -> Get:
    """Return the question of a node that has these."""
    return Get(object_tree(*objects).root, status_tree(*reports).root)


def object_tree(*objects: DesiredObject) -> DigestTree:
    tree = DigestTree()
    for item in objects:
        tree.put(item.uid, object_entry(item))
    return tree


def status_tree(*reports: StatusReport) -> DigestTree:
    tree = DigestTree()
    for report in reports:
        tree.put(report.uid, status_entry(report))
    return tree


def everything(*objects: DesiredObject, reports: tuple[StatusReport, ...] = ()) -> ObjectsResult:
    """Return the answer of a cloud that sends all that it has in one part."""
    entries = status_tree(*reports).entries()
    return ObjectsResult(1, 1, objects, (), complete=True, root=object_tree(*objects).root, status_entries=entries)


def to_node(verb: Verb, body: Body, *, event_id: str = "e", epoch: int = 1, seq: int = 1, code: int = 200) -> Received:
    header = Header(event_id, 0, cloud_epoch=epoch, seq=seq, code=code)
    return Received(TOPICS.node(NODE, verb), codec.encode(header, body), retained=False, connection=1)


def to_cloud(verb: Verb, body: Body, *, node: str = NODE, event_id: str = "e", epoch: int = 7) -> Received:
    header = Header(event_id, 0, node_epoch=epoch)
    return Received(TOPICS.node(node, verb), codec.encode(header, body), retained=False, connection=1)


def raw(topic: str, payload: bytes) -> Received:
    return Received(topic, payload, retained=False, connection=1)


def read(message: Message) -> tuple[Header, Body]:
    return codec.decode(message.payload)


def rng() -> Random:
    return Random(1)  # noqa: S311  # a schedule, not a secret


def hear(cloud: CloudLink, message: Received, now: float, timestamp: int) -> list[Action]:
    """Let a cloud hear a message, and answer at once where that is a question."""
    heard: list[Action] = []
    for action in cloud.received(message, now, timestamp):
        heard += cloud.answer(action, timestamp) if isinstance(action, Asked) else [action]
    return heard
