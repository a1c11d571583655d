"""Leader election by a Lease: of all replicas of a program, one works.

Invariant: whoever leads has stopped its work before another may take over. No two machines' clocks are ever compared:
a standby counts from when it saw the lease change, a leader from when it sent the renewal that was taken, both on
their own monotonic clock, and the leader's count is the shorter one.

    standby ── lease absent, given back, or unchanged for its duration ──> leader
    leader ── no renewal for `renew_seconds`, or the lease is another's ──> work is cancelled, LeadershipLost

There is no way back from LeadershipLost: the program ends and is started again, as with controller-runtime. What a
thread that cannot be stopped, or a write that was on its way, still does is nobody's to prevent from here; writes that
carry the version that they were based on fail at the server.
`Candidate` decides (no I/O, time is an argument); `LeaderElector` asks the server and obeys.
Neighbours: `manager` runs it. Rules: k8s.io/client-go/tools/leaderelection/leaderelection.go.
"""

from __future__ import annotations

import asyncio
import random
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from neptune.api.machinery import Lease, LeaseSpec
from neptune.api.meta import ObjectMeta, ResourceKey
from neptune.clock import Clock
from neptune.errors import NeptuneError, SettingsError
from neptune.log import get_logger
from neptune.runtime.client import Client
from neptune.runtime.errors import Conflict, Forbidden, NotFound
from neptune.runtime.metrics import Metrics

#: JitterFactor in client-go, which there stretches a standby's wait to as much as 2.2 times; here it is the most, so
#: that a lease that was given back is taken within 2.4 s.
JITTER_FACTOR = 1.2
_SERVICE_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class LeadershipLost(NeptuneError):
    """The lease could not be renewed in time, or another took it; all work was stopped. End and start again."""


@dataclass(frozen=True, slots=True)
class LeaderElection:
    """Which lease the replicas of a program compete for, and how fast. The times are those of Kubernetes' own parts.

    Args:
        name: of the Lease, the same for all replicas of one program.
        namespace: of the Lease; by default the one of the pod.
        lease_seconds: after which a lease that was not renewed may be taken: how long a crash goes unnoticed.
        renew_seconds: after which a leader that cannot renew stops its work. What is left of `lease_seconds` is the
            time that work has to stop.
        retry_seconds: between two renewals, and at least between two looks of a standby.

    Raises:
        SettingsError: the times do not fit together, or the namespace is missing outside a pod.
    """

    name: str
    namespace: str = ""
    lease_seconds: int = 15
    renew_seconds: float = 10.0
    retry_seconds: float = 2.0

    def __post_init__(self) -> None:
        if not self.lease_seconds > self.renew_seconds > self.retry_seconds * JITTER_FACTOR > 0:
            raise SettingsError(
                f"leader election {self.name}: lease_seconds must be more than renew_seconds, and that more than "
                f"{JITTER_FACTOR} times retry_seconds"
            )

    @property
    def key(self) -> ResourceKey:
        """The namespace and name of the Lease.

        Raises:
            SettingsError: there is no namespace, and this is no pod, whose own would be the default.
        """
        namespace = self.namespace
        if not namespace and _SERVICE_NAMESPACE.exists():
            namespace = _SERVICE_NAMESPACE.read_text().strip()
        if not namespace:
            raise SettingsError(f"lease {self.name} needs a namespace, NAMESPACE/{self.name}: no pod gives a default")
        return ResourceKey(namespace, self.name)


class Candidate:
    """What one replica knows of the lease, and what follows. `now` is seconds of any clock that never goes back."""

    def __init__(self, identity: str, settings: LeaderElection, key: ResourceKey) -> None:
        self.identity = identity
        self._settings = settings
        self._key = key
        self._lease: Lease | None = None
        self._seen_at = 0.0
        #: Until when this replica may work; None while it does not lead.
        self.leads_until: float | None = None

    @property
    def holder(self) -> str:
        """Who led when the lease was last seen; empty for nobody."""
        return self._lease.spec.holder_identity if self._lease else ""

    @property
    def term(self) -> int:
        """The number of leaderships before the one that was last seen (leaseTransitions)."""
        return self._lease.spec.lease_transitions if self._lease else 0

    @property
    def knows_version(self) -> bool:
        """Whether the lease that was last seen is this replica's, so that renewing needs no read first."""
        return self.leads_until is not None and self.holder == self.identity

    def saw(self, lease: Lease | None, now: float) -> None:
        """Take in what the server has. Only a record that differs from the one before counts as a sign of life."""
        before = self._lease.spec.to_dict() if self._lease else None
        if lease is None or lease.spec.to_dict() != before:
            self._seen_at = now
        self._lease = lease

    def may_claim(self, now: float) -> bool:
        """Tell whether the lease is this replica's, free, or was not renewed for as long as it lasts."""
        if self._lease is None or self.holder in ("", self.identity):
            return True
        return now - self._seen_at > (self._lease.spec.lease_duration_seconds or 0)

    def claim(self, wall: datetime) -> Lease:
        """Return the lease to write, guarded by the version that was seen. The wall clock is for people."""
        spec = LeaseSpec(
            holder_identity=self.identity,
            lease_duration_seconds=self._settings.lease_seconds,
            acquire_time=wall,
            renew_time=wall,
        )
        if self._lease is None:
            return self._with(spec)
        spec.lease_transitions = self._lease.spec.lease_transitions
        if self.holder == self.identity:
            spec.acquire_time = self._lease.spec.acquire_time
        else:
            spec.lease_transitions += 1
        return self._with(spec)

    def claimed(self, lease: Lease, sent_at: float) -> None:
        """Take in that a claim sent at that time was taken. Others count from later than that."""
        self._lease = lease
        self.leads_until = sent_at + self._settings.renew_seconds

    def given_back(self, wall: datetime) -> Lease:
        """Return the lease to write when work has ended: without a holder, for anybody to take at once."""
        return self._with(
            LeaseSpec(
                holder_identity="",
                lease_duration_seconds=1,
                acquire_time=wall,
                renew_time=wall,
                lease_transitions=self.term,
            )
        )

    def _with(self, spec: LeaseSpec) -> Lease:
        if self._lease is None:
            return Lease(metadata=ObjectMeta(namespace=self._key.namespace, name=self._key.name), spec=spec)
        lease = self._lease.model_copy(deep=True)
        lease.spec = lease.spec.model_copy(update=dict(spec))  # what a newer server has in it stays
        return lease


class LeaderElector:
    """One replica's part in an election."""

    def __init__(
        self,
        client: Client,
        settings: LeaderElection,
        clock: Clock,
        metrics: Metrics,
        rng: random.Random | None = None,
    ) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._key = settings.key
        # As in controller-runtime: the host tells people which pod it is, the rest makes a restart another candidate.
        self._core = Candidate(f"{socket.gethostname()}_{uuid.uuid4()}", settings, self._key)
        self._status, self._slow_path = metrics.election(settings.name)
        self._rng = rng or random.Random()  # noqa: S311  # spreads the standbys, hides nothing
        self._said = ""
        self._log = get_logger(lease=str(self._key))

    @property
    def stop_seconds(self) -> float:
        """How long work may take to stop after the leadership was lost."""
        return self._settings.lease_seconds - self._settings.renew_seconds

    @property
    def term(self) -> int:
        """How often the lease had changed hands when this replica took it: each leadership has a higher number.

        Not beyond the Lease: it counts from 0 again where somebody deletes it.
        """
        return self._core.term

    async def acquire(self) -> None:
        """Return once this replica leads; for as long as another does, or the server is away."""
        while not await self._claim():  # noqa: ASYNC110  # a Lease has no event
            await asyncio.sleep(self._settings.retry_seconds * self._rng.uniform(1.0, JITTER_FACTOR))
        self._status.set(1)
        self._log.info("leading", identity=self._core.identity)

    async def hold(self, stop_work: Callable[[], None]) -> NoReturn:
        """Renew the lease until cancelled.

        `stop_work` is called once the leadership is lost, before the tasks of the loop take a further step: after a
        pause of this process too, whatever answers arrived in it.

        Raises:
            LeadershipLost: it is.
        """
        loop = asyncio.get_running_loop()
        lost: asyncio.Future[str] = loop.create_future()

        def lose(why: str) -> None:
            if not lost.done():
                self._core.leads_until = None
                self._status.set(0)
                stop_work()
            if not lost.done():  # stopping the work may have cancelled whoever waits here
                lost.set_result(why)

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()):
                lose(f"renewing it failed: {error!r}")

        renewing = asyncio.create_task(self._renew(lose), name="renewing")
        renewing.add_done_callback(ended)  # a fault there must not look like a leadership that goes on
        try:
            why = await lost
        finally:
            renewing.cancel()
            await asyncio.wait([renewing])
        raise LeadershipLost(f"the lease {self._key} is lost: {why}; work was stopped, start this program again")

    async def release(self) -> None:
        """Give the lease back if it is this replica's: another can take it at once. Call it when work has ended."""
        core = self._core
        core.leads_until = None
        self._status.set(0)
        try:
            async with asyncio.timeout(self._settings.renew_seconds / 2):
                core.saw(await self._client.get(Lease, self._key), self._clock.monotonic())
                if core.holder == core.identity:
                    await self._client.update(core.given_back(self._clock.now()))
                    self._log.info("lease given back")
        except NotFound:
            return
        except (NeptuneError, TimeoutError, ValueError) as error:
            self._log.warning("lease not given back, another takes over when it lapses", problem=_problem(error))

    async def _renew(self, lose: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        limit = f"it could not be renewed for {self._settings.renew_seconds:g} s"
        while (until := self._core.leads_until) is not None:
            # A timer, not a task that sleeps: after a pause of the process it comes before any task.
            timer = loop.call_later(until - self._clock.monotonic(), lose, limit)
            try:
                await asyncio.sleep(self._settings.retry_seconds)
                while not await self._claim():
                    if self._core.holder not in ("", self._core.identity):
                        lose(f"{self._core.holder} holds it")
                    await asyncio.sleep(self._settings.retry_seconds)
            finally:
                timer.cancel()

    async def _claim(self) -> bool:
        """Try once to get or renew the lease, and tell whether it was taken."""
        try:
            async with asyncio.timeout(self._settings.renew_seconds / 2):
                taken = await self._write()
        # Also a kubeconfig that is half written when it is read anew, and an answer that is no lease.
        except (NeptuneError, TimeoutError, ValueError) as error:
            self._say("cannot reach the lease, trying again", level="warning", problem=_problem(error))
            return False
        if taken:
            self._said = ""
        elif self._core.leads_until is None:
            self._say("standing by", holder=self._core.holder)
        return taken

    async def _write(self) -> bool:
        core, clock = self._core, self._clock
        if core.knows_version:
            try:
                sent_at = clock.monotonic()
                core.claimed(await self._client.update(core.claim(clock.now())), sent_at)
            except Conflict:
                # Somebody touched the lease, or took it, or our last write was carried out unknown to us: look.
                self._slow_path.inc()
            else:
                return True
        try:
            core.saw(await self._client.get(Lease, self._key), clock.monotonic())
            write = self._client.update
        except NotFound:
            core.saw(None, clock.monotonic())
            write = self._client.create
        if not core.may_claim(clock.monotonic()):
            return False
        sent_at = clock.monotonic()
        try:
            core.claimed(await write(core.claim(clock.now())), sent_at)
        except Conflict:  # another was faster
            return False
        return True

    def _say(self, event: str, *, level: str = "info", **keys: str) -> None:
        """Log what lasts once, not at each try."""
        said = f"{event} {keys}"
        if said != self._said:
            self._said = said
            getattr(self._log, level)(event, **keys)


def _problem(error: Exception) -> str:
    match error:
        case Forbidden():
            return f"{error.message}: grant get, create and update on leases.coordination.k8s.io to this user (a Role)"
        case TimeoutError():
            return "the API server did not answer in time"
        case _:
            return str(error)
