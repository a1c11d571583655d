"""What cloud and edge say: a dataclass for each type of message, and the header that all share.

The envelope has EventBus's `event_id` and `timestamp`; a result echoes the `event_id` of its request and adds `code`
and `reason`. Values only: a field's type is what `codec` checks.
Neighbours: `codec` turns them into bytes and back, `topics` says where they go, `node` and `cloud` when. `api` has
richer twins of the few fields here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

Json = dict[str, Any]
#: Texts by name, such as digests of objects by uid.
Entries = dict[str, str]

#: Objects that may be asked for in one question; an answer of some hundred kilobytes.
MAX_ASKED = 500
#: The largest report of a task (bytes of JSON): some hundred metrics, and a batch still takes several.
WORK_BYTES = 16 * 1024
#: No number is larger, so that every JSON reader has it exactly (RFC 8259, section 6). An epoch stays there.
MAX_NUMBER = 2**53 - 1

OK, BAD_REQUEST, FORBIDDEN, NOT_FOUND, CONFLICT = 200, 400, 403, 404, 409
TOO_LARGE, INVALID, UPGRADE, UNAVAILABLE = 413, 422, 426, 503


@dataclass(frozen=True, slots=True)
class Header:
    """What every message carries.

    `timestamp` is the sender's wall clock in milliseconds, for people; nothing is decided by it. `cloud_epoch` and
    `node_epoch` name the process that speaks: a new process has a higher one. Of the other side's epoch a message
    carries the highest that was heard of, so that whoever is behind can go above it. `seq` orders what one cloud says.
    `cluster` is the uid of the namespace kube-system; empty where it is not known.
    """

    event_id: str
    timestamp: int
    cloud_epoch: int = 0
    node_epoch: int = 0
    seq: int = 0
    code: int = OK
    reason: str = ""
    cluster: str = ""


@dataclass(frozen=True, slots=True)
class DesiredObject:
    """An object as the API server has it: the whole spec, keyed by uid, ordered by metadata.generation.

    `hash` stands for the spec in digests. The cloud makes it; a node keeps it as it came.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    spec: Json
    hash: str = ""


@dataclass(frozen=True, slots=True)
class ConditionReport:
    """One condition as a node sees it."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class WorkReport:
    """What the work of a task has come to on a node: the newest that its worker said.

    `id` names the report: two of one id are one. `state` is `Pending` (no worker has it yet), `Running`, `Completed` or
    `Failed`; `time` is RFC 3339 in UTC by the node's clock; `progress` is in percent and `samples` are those used, both
    None where nobody knows. `metrics` has texts by name. All of it together takes at most `WORK_BYTES`.
    """

    id: str
    state: str
    time: str
    progress: int | None = None
    samples: int | None = None
    metrics: Entries = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The latest status of one object.

    `number_of_samples` is None when it is not known; 0 means counted and empty. `fingerprint` is that of the content
    that has this number; None where the node knows none. `work` is there for a task, and for a task alone.
    """

    uid: str
    seq: int
    observed_generation: int
    number_of_samples: int | None
    update_time: str | None
    conditions: tuple[ConditionReport, ...]
    fingerprint: str | None = None
    work: WorkReport | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one report: 200 written, 400 not usable, 403 not yours, 404 gone, 409 another generation.

    `epoch` and `seq` name the report: a process that starts anew counts from one again.
    """

    uid: str
    epoch: int
    seq: int
    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Presence:
    """Birth and will of a node. `connection` counts the connections of one process, so that an old will is known.

    `will_epoch` is that of the will of this connection, where it is not the present one; 0 where it is.
    """

    TYPE: ClassVar[str] = "presence"
    online: bool
    connection: int
    agent: str = ""
    will_epoch: int = 0


@dataclass(frozen=True, slots=True)
class CloudPresence:
    """Birth and will of the cloud. A birth asks every node to synchronise, spread over `roll_call_seconds`."""

    TYPE: ClassVar[str] = "cloud.presence"
    online: bool
    roll_call_seconds: int = 1


@dataclass(frozen=True, slots=True)
class Get:
    """A node says what it has: the root of its objects, and that of its latest statuses."""

    TYPE: ClassVar[str] = "sync.get"
    root: str
    status_root: str


@dataclass(frozen=True, slots=True)
class GetResult:
    """The answer to `Get`: the cloud's root, and its bucket digests if the roots differ, else an empty text.

    `status_buckets` are those of the statuses, if the objects are equal and the statuses differ.
    Also how any question is refused: with a `code` in the header.
    """

    TYPE: ClassVar[str] = "sync.result"
    root: str
    buckets: str = ""
    status_buckets: str = ""


@dataclass(frozen=True, slots=True)
class GetEntries:
    """A node asks for the cloud's entries in these buckets."""

    TYPE: ClassVar[str] = "sync.get.entries"
    buckets: tuple[int, ...]
    status_buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EntriesResult:
    """Part `part` (from 1) of `of` of the entries. All parts share `event_id` and `seq`."""

    TYPE: ClassVar[str] = "sync.result.entries"
    part: int
    of: int
    entries: Entries
    status_entries: Entries


@dataclass(frozen=True, slots=True)
class GetObjects:
    """A node asks for objects that it lacks or has otherwise."""

    TYPE: ClassVar[str] = "sync.get.objects"
    uids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ObjectsResult:
    """Part `part` (from 1) of `of` of the objects that were asked for; `deleted` are those that it should not have.

    `complete` is the short answer to `Get`: all parts together are all that the node should have, `root` is their
    digest, and `status_entries` are the statuses that the API server has. All parts share `event_id` and `seq`.
    """

    TYPE: ClassVar[str] = "sync.result.objects"
    part: int
    of: int
    objects: tuple[DesiredObject, ...]
    deleted: tuple[str, ...]
    complete: bool = False
    root: str = ""
    status_entries: Entries = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Updated:
    """Objects that changed, and uids that a node should forget. Without either it asks whether the node is there."""

    TYPE: ClassVar[str] = "desired.updated"
    objects: tuple[DesiredObject, ...]
    deleted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StatusUpdate:
    """Statuses of a node's objects."""

    TYPE: ClassVar[str] = "status.update"
    reports: tuple[StatusReport, ...]


@dataclass(frozen=True, slots=True)
class StatusResult:
    """Verdicts, sent only after the API server has taken the write, or for good refused it."""

    TYPE: ClassVar[str] = "status.result"
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True, slots=True)
class GetCredentials:
    """A node needs the credentials of this object. `encrypted`: all its connections to the broker are over TLS."""

    TYPE: ClassVar[str] = "credentials.get"
    uid: str
    encrypted: bool


@dataclass(frozen=True, slots=True)
class CredentialsResult:
    """The answer to `GetCredentials`: values by the keys of a Secret; none where the header's `code` is not 200."""

    TYPE: ClassVar[str] = "credentials.result"
    uid: str
    values: Entries = field(default_factory=dict, repr=False)


Question = Get | GetEntries | GetObjects
Answer = GetResult | EntriesResult | ObjectsResult
Credential = GetCredentials | CredentialsResult
Body = Presence | CloudPresence | Question | Answer | Updated | StatusUpdate | StatusResult | Credential
