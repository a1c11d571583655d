"""Everything there is in a simulation: clouds, nodes, their disks and clocks, the network, the API server.

The programs are the real ones: `controllers.app.CloudController` and `edge.agent.Agent`. A killed process leaves what
it had durably written, and a connection that the broker may miss late; one that ends by itself is started again.
Neighbours: `schedule` decides what happens here, `judge` whether it was right.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from neptune.controllers.app import CloudController
from neptune.controllers.tasks import FederatedTasks
from neptune.edge.agent import Agent, AgentSettings
from neptune.edge.tasks.keeper import TaskKeeper
from neptune.edge.watches import Watches
from neptune.protocol.desired import Change
from neptune.protocol.topics import DEFAULT_PREFIX
from neptune.runtime import Client, LeaderElection, LeadershipLost
from neptune.testing.simulation.files import Files
from neptune.testing.simulation.loop import Process, VirtualClock, VirtualLoop
from neptune.testing.simulation.network import Network
from neptune.testing.simulation.server import Host, InProcess
from neptune.testing.simulation.trace import Trace
from neptune.transport.broker_types import Limits, Overflow
from neptune.transport.memory import MemoryTransport

NODES = ("edge0", "edge1")
#: No event wakes a monitor here, so the poll finds what changed.
POLL_SECONDS = 2.0
#: How long what starts a program waits after that ended by itself (seconds).
_RESTART_SECONDS = 5.0


@dataclass(eq=False)
class Machine:
    """A machine on which one of our programs runs, or not at the moment."""

    name: str
    client_id: str
    clock: VirtualClock
    process: Process | None = None
    starts: int = 0

    @property
    def is_up(self) -> bool:
        """Whether the program runs, stopped or not."""
        return self.process is not None and self.process.alive


@dataclass(eq=False)
class Node(Machine):
    """A machine with data and an agent. `disk` is what is durable; each life of the agent has a copy of it."""

    files: Files = field(default_factory=Files)
    disk: Path = Path()
    backup: Path | None = None


class WatchedAgent(Agent):
    """The agent, and somebody who learns what it is about to store and to forget."""

    on_change: Callable[[Change], None] = staticmethod(lambda change: None)

    async def _apply(self, change: Change) -> None:
        self.on_change(change)
        await super()._apply(change)

    def _make_tasks(self) -> TaskKeeper:
        keeper = super()._make_tasks()
        keeper._watches = _Blind(lambda uid: None, lambda: None)
        return keeper


class _Blind(Watches):
    """Sees no event, as on a node that has no inotify left: the poll finds what workers wrote."""

    def _open(self) -> None:
        return None


class World:
    """All of it. Made inside a `VirtualLoop`; `folder` is for the disks."""

    def __init__(
        self, seed: int, folder: Path, *, is_elected: bool, limits: Limits | None = None, overflow: Overflow
    ) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.loop = loop
        # Not the seed itself: `simulation` draws from that, and equal draws would tie what should vary by itself.
        self.rng = Random(f"world {seed}")  # noqa: S311  # a schedule, no secret
        self.trace = Trace(loop.time)
        #: What went wrong, in a sentence each.
        self.failures: list[str] = []
        self.on_change: Callable[[Node, Process, Change], None] = lambda node, process, change: None
        clock = VirtualClock(loop)
        silent = self.rng.random() < 0.5
        #: Whether clouds compete for a lease; else a second one is only told from the first by its epoch.
        self.is_elected = is_elected
        self.network = Network(clock, self.fork(), limits=limits, overflow=overflow, silent_deny=silent)
        self.host = Host(clock, self.fork())
        self.nodes = [Node(name, f"neptune-edge-{name}", VirtualClock(loop)) for name in NODES]
        self.cloud = Machine("cloud", "neptune-cloud", VirtualClock(loop))
        self._folder = folder
        self._folders = 0
        self._processes: list[Process] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._is_over = False
        loop.set_exception_handler(self._on_loop_error)
        loop.on_standstill = self._on_standstill
        for node in self.nodes:
            node.disk = self.new_folder()

    def fork(self) -> Random:
        """Return a source of randomness of its own, so that one part's draws do not move another's."""
        return Random(self.rng.random())  # noqa: S311  # as above

    def new_folder(self) -> Path:
        """Return an empty folder."""
        self._folders += 1
        folder = self._folder / str(self._folders)
        folder.mkdir()
        return folder

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after so many seconds."""
        self.loop.call_later(seconds, action)

    def start(self, machine: Machine) -> None:
        """Start the program of a machine, if it does not run."""
        if machine.is_up or self._is_over:
            return
        machine.starts += 1
        process = machine.process = Process(f"{machine.name}#{machine.starts}")
        self._processes.append(process)
        self.trace.say(machine.name, "starts", life=machine.starts)
        transport = MemoryTransport(self.network, machine.client_id, username=machine.name, rng=self.fork())
        lingers = self.fork().choice((0.0, 1.0, 60.0, 90.0))
        program: Any
        if isinstance(machine, Node):
            program = self._agent(machine, process, transport, lingers)
        else:
            process.on_death = lambda: self.network.abandon(process, lingers)
            program = self._controller(machine, process, transport).serve(asyncio.Event())
        task = self.loop.spawn(process, program)
        task.add_done_callback(lambda task: self._ended(machine, process, task))
        self._tasks.append(task)

    def kill(self, machine: Machine) -> None:
        """Kill the program of a machine."""
        if machine.process is not None and machine.is_up:
            self.trace.say(machine.name, "is killed")
            machine.process.kill()

    async def end(self) -> None:
        """Kill everything and see that nothing is left."""
        self._is_over = True
        for process in self._processes:
            process.kill()
        left = [task for process in self._processes for task in process.running]
        if left:
            _, late = await asyncio.wait(left, timeout=120.0)
            self.failures += sorted(f"{task.get_name()} does not end when it is cancelled" for task in late)

    def _agent(self, node: Node, process: Process, transport: MemoryTransport, lingers: float) -> Any:
        folder = node.disk
        settings = AgentSettings(
            node=node.name, state_dir=folder, roots=("/data",), poll_seconds=POLL_SECONDS, interval_seconds=0.0
        )
        agent = WatchedAgent(settings, transport, node.clock, self.fork(), node.files)
        agent.on_change = lambda change: self.on_change(node, process, change) if process.alive else None

        def die() -> None:
            self.network.abandon(process, lingers)
            # What the dead process still writes goes where nobody looks.
            node.disk = self.copy(folder)

        process.on_death = die
        return agent.run(asyncio.Event())

    def copy(self, folder: Path) -> Path:
        """Return a copy of a disk, as it is now."""
        # Of sqlite's files the shared memory is none that survives.
        without = shutil.ignore_patterns("*-shm")
        return shutil.copytree(folder, self.new_folder(), ignore=without, dirs_exist_ok=True)

    def _controller(self, cloud: Machine, process: Process, transport: MemoryTransport) -> CloudController:
        client = Client(session=InProcess(self.host, process))
        controller = CloudController(
            client,
            transport,
            cloud.clock,
            topic_prefix=DEFAULT_PREFIX,
            workers=2,
            task_kinds=(FederatedTasks(),),
            leader_election=LeaderElection("cloud-controller", namespace="default") if self.is_elected else None,
            rng=self.fork(),
        )
        controller.manager.blocked_seconds = None
        return controller

    def _ended(self, machine: Machine, process: Process, task: asyncio.Task[None]) -> None:
        if not process.alive:
            return
        error = None if task.cancelled() else task.exception()
        self.trace.say(process.name, "ends", error=error)
        if not isinstance(error, LeadershipLost):
            self.failures.append(f"{process.name} ended by itself: {error!r}")
        process.kill()
        self.later(_RESTART_SECONDS, lambda: self.start(machine))

    def _on_standstill(self) -> None:
        busy = {process.name: process.steps for process in self._processes if process.alive}
        self.failures.append(f"time stands still; steps so far: {busy}")
        self._is_over = True
        for process in self._processes:
            process.kill()

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(f"unhandled in the loop: {context.get('message')}: {context.get('exception')!r}")
