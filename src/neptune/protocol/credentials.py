"""Credentials of objects: which the cloud may send to a node, and which question of a node is out. No I/O, no clock.

Beside the synchronisation: no spec, digest or retained message has them, and neither end writes them down. The cloud
answers for an object of the node that asks, when both ends reach the broker over TLS and nothing else.
Codes of an answer: 403 not an object of this node, or the cloud may not read the Secret; 404 no such Secret; 422 it
lacks what the url needs; 426 not over TLS; 503 ask again. The last is no answer: the question is repeated.
Neighbours: `cloud.CloudLink` and `node.NodeLink` carry it; `controllers.dataset.credentials` reads Secrets;
`edge.keyring` holds what came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from neptune.protocol import messages
from neptune.protocol.backoff import Backoff
from neptune.protocol.messages import GetCredentials

#: How long to wait for an answer before asking again (seconds), and how far that backs off.
ASK_BASE_SECONDS, ASK_MAX_SECONDS = 5.0, 60.0
#: Questions of one node that are out. A cloud keeps no more of its answers waiting for a node.
MAX_OUT = 16


@dataclass(frozen=True, slots=True)
class CredentialsAsked:
    """This node asks for the credentials of that object. With another `code` than 200 it is refused already."""

    node: str
    uid: str
    event_id: str
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class CredentialsTold:
    """The answer to a question for credentials: the values by the keys of the Secret, or why there are none."""

    uid: str
    event_id: str
    code: int
    reason: str
    values: Mapping[str, str] = field(default_factory=dict, repr=False)


def objection(question: GetCredentials, *, is_owner: bool, is_encrypted: bool) -> tuple[int, str]:
    """Return why the cloud does not answer a question, or 200. `is_encrypted` speaks of the cloud's own connection."""
    if not is_owner:
        return messages.FORBIDDEN, "no object of this node has this uid"
    if not is_encrypted:
        return messages.UPGRADE, _need_tls("cloud-controller")
    if not question.encrypted:
        return messages.UPGRADE, _need_tls("edge-agent of this node")
    return messages.OK, ""


def _need_tls(program: str) -> str:
    return f"credentials are sent over TLS only: give {program} --broker with mqtts:// or wss:// urls, and no other"


@dataclass(slots=True)
class _Wanted:
    """`event_id` is that of the question that is out; empty while none is."""

    backoff: Backoff
    at: float = 0.0
    event_id: str = ""


@dataclass(slots=True)
class Asking:
    """The node's questions: each is repeated until it has an answer, `MAX_OUT` at a time."""

    rng: Random
    _wanted: dict[str, _Wanted] = field(default_factory=dict)

    def want(self, uid: str) -> None:
        """Ask for the credentials of an object, unless that is under way."""
        if uid not in self._wanted:
            self._wanted[uid] = _Wanted(Backoff(ASK_BASE_SECONDS, ASK_MAX_SECONDS, self.rng))

    def forget(self, uid: str) -> None:
        """Nobody wants those any more."""
        self._wanted.pop(uid, None)

    def hurry(self) -> None:
        """Ask at once: whatever was asked before is lost."""
        for wanted in self._wanted.values():
            wanted.at = 0.0
            wanted.backoff.reset()

    def due(self, now: float) -> list[str]:
        """Return the objects to ask for now; each has to come back through `asked`."""
        return [uid for uid, wanted in self._first() if wanted.at <= now]

    def next_due(self) -> float | None:
        """Return when `due` has something next, or None."""
        return min((wanted.at for _, wanted in self._first()), default=None)

    def asked(self, uid: str, event_id: str, now: float) -> None:
        """The question went out under that name."""
        wanted = self._wanted[uid]
        wanted.at, wanted.event_id = now + wanted.backoff.next(), event_id

    def answered(self, uid: str, event_id: str, code: int) -> bool:
        """Tell whether this is the end of a question that is out."""
        wanted = self._wanted.get(uid)
        if wanted is None or wanted.event_id != event_id:
            return False
        del self._wanted[uid]
        if code == messages.UNAVAILABLE:
            # The question is repeated when its time has come, behind those that wait for a turn.
            self._wanted[uid] = wanted
            return False
        return True

    def _first(self) -> list[tuple[str, _Wanted]]:
        return [item for item, _ in zip(self._wanted.items(), range(MAX_OUT), strict=False)]
