"""The credentials that the cloud has sent for datasets of this node: by uid, and in memory only.

Invariant: what is here never reaches the store, a log, the status socket or a condition. It leaves by one way: to the
counting process of the dataset, over its standard input.
They are asked for when they are first needed, again when a server refuses them, and otherwise when they are older than
`REFRESH_SECONDS` and needed: so long a Secret that is gone, or that the node may not have any more, is still used while
the cloud can be reached. A cloud that is away takes nothing.
Neighbours: `monitor` needs them, `agent` carries the questions and the answers of `protocol.credentials`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from neptune.clock import Clock
from neptune.edge.problems import Problem, Reason
from neptune.protocol import messages
from neptune.protocol.credentials import CredentialsTold

#: How long credentials are used before the cloud is asked whether they are still right (seconds).
REFRESH_SECONDS = 600.0
#: How long a count waits for them before the dataset shows why (seconds). They still come then.
PATIENCE_SECONDS = 30.0
_REASONS = {
    messages.FORBIDDEN: Reason.CREDENTIALS_FORBIDDEN,
    messages.NOT_FOUND: Reason.CREDENTIALS_NOT_FOUND,
    messages.INVALID: Reason.CREDENTIALS_INVALID,
    messages.UPGRADE: Reason.CREDENTIALS_NEED_TLS,
}


@dataclass(frozen=True, slots=True)
class Keys:
    """What opens the url of a dataset. `is_fresh`: the cloud sent it for this very count."""

    values: Mapping[str, str] = field(repr=False)
    is_fresh: bool


@dataclass(frozen=True, slots=True)
class _Held:
    values: Mapping[str, str] = field(repr=False)
    refresh_at: float


_Answer = Mapping[str, str] | Problem


class Keyring:
    """Credentials by the uids of datasets.

    `ask` has the cloud asked, once however often it is called until the answer comes; `wake` is told of a dataset for
    which something came that nobody was waiting for.
    """

    def __init__(self, clock: Clock, ask: Callable[[str], None], wake: Callable[[str], None]) -> None:
        self._clock = clock
        self._ask = ask
        self._wake = wake
        self._held: dict[str, _Held] = {}
        self._waiting: dict[str, asyncio.Future[_Answer]] = {}

    def held(self, uid: str) -> Keys | None:
        """Return the credentials of a dataset that are here; the cloud is asked about old ones meanwhile."""
        held = self._held.get(uid)
        if held is None:
            return None
        if held.refresh_at <= self._clock.monotonic():
            self._ask(uid)
        return Keys(held.values, is_fresh=False)

    async def fetch(self, uid: str) -> Keys | Problem:
        """Return the credentials of a dataset as the cloud has them now. One caller a dataset at a time."""
        waiting: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        self._waiting[uid] = waiting
        self._ask(uid)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                answer = await waiting
        except TimeoutError:
            why = f"the cloud has not sent the credentials within {PATIENCE_SECONDS:.0f} s; they are asked for again"
            return Problem(Reason.CREDENTIALS_UNAVAILABLE, why)
        finally:
            if self._waiting.get(uid) is waiting:
                del self._waiting[uid]
        return answer if isinstance(answer, Problem) else Keys(answer, is_fresh=True)

    def take(self, told: CredentialsTold) -> None:
        """The cloud has answered."""
        uid, had = told.uid, told.uid in self._held
        answer: _Answer
        if told.code == messages.OK:
            self._held[uid] = _Held(told.values, self._clock.monotonic() + REFRESH_SECONDS)
            answer = told.values
        else:
            self._held.pop(uid, None)
            answer = Problem(_REASONS.get(told.code, Reason.CREDENTIALS_UNAVAILABLE), told.reason)
        waiting = self._waiting.pop(uid, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)
        elif not had or isinstance(answer, Problem):
            self._wake(uid)

    def forget(self, uid: str) -> None:
        """Drop what is here of a dataset that is gone or has another spec."""
        self._held.pop(uid, None)
        waiting = self._waiting.pop(uid, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(Problem(Reason.CREDENTIALS_UNAVAILABLE, "its spec has just changed"))
