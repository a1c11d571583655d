"""What happens to a world: what users do, what goes wrong, and that all of it ends. One seed, one schedule.

Faults: `docs/protocol.md` says of each how the link gets over it. A schedule with losses is one in which a message may
be lost while its connection stands, as brokers do; without losses the link has to agree quickly.
Neighbours: `world` is what it happens to, `judge` hears of what users do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

from neptune.protocol import codec, messages
from neptune.protocol.messages import Header, StatusReport, StatusUpdate, WorkReport
from neptune.protocol.topics import Topics, Verb
from neptune.testing.simulation.judge import FORGED, Judge
from neptune.testing.simulation.judge_tasks import FORGED_REPORT
from neptune.testing.simulation.network import Weather
from neptune.testing.simulation.profiles import Profile
from neptune.testing.simulation.server import Trouble
from neptune.testing.simulation.task_users import TaskUsers
from neptune.testing.simulation.users import LINES, PATHS, Users
from neptune.testing.simulation.world import Machine, Node, World
from neptune.transport.broker_types import Action, Publication

#: How long a fault lasts at most (seconds).
_FAULT_SECONDS = 40.0
#: How much more often than others happens what a profile names.
_OFTEN = 5


class Schedule:
    """A schedule on a world. `lossy` allows what only the next synchronisation heals.

    With `has_tasks` there are users of tasks, and workers find something to do.
    """

    def __init__(self, world: World, judge: Judge, profile: Profile, *, lossy: bool, has_tasks: bool) -> None:
        self._world = world
        self._judge = judge
        self._rng = world.fork()
        self._profile = profile
        self._lossy = lossy
        self._topics = Topics()
        self._is_over = self._has_backup = False
        self._users = Users(world, judge, self._rng)
        self._twins: list[Machine] = []
        self._task_users = TaskUsers(world, self._rng) if has_tasks else None
        users = self._users.actions | (self._task_users.actions if self._task_users else {})
        faults: dict[str, tuple[int, Callable[[], None]]] = {
            "kill_node": (4, self._kill_node), "doom": (2, self._doom), "kill_cloud": (3, self._kill_cloud),
            "stop": (2, self._stop), "depose": (1, self._depose), "cut": (4, self._cut),
            "partition": (3, self._partition), "restart_broker": (1, self._restart_broker),
            "change_weather": (3, self._change_weather), "trouble": (3, self._trouble), "api_away": (2, self._api_away),
            "break_watches": (2, self._break_watches), "silence_watches": (1, self._silence_watches),
            "jump": (1, self._jump), "twin": (1, self._twin), "forge": (1, self._forge), "junk": (1, self._junk),
        }  # fmt: skip
        if lossy:
            faults |= {"deny": (1, self._deny), "restore": (2, self._restore)}
        self._actions = [
            (weight * (_OFTEN if name in profile.often else 1), action) for name, (weight, action) in users.items()
        ] + [(weight * self._frequency(name), action) for name, (weight, action) in faults.items()]
        if unknown := profile.often - users.keys() - faults.keys():
            raise ValueError(f"profile {profile.name} names what no schedule has: {sorted(unknown)}")

    def _frequency(self, fault: str) -> int:
        if self._profile.often:
            return _OFTEN if fault in self._profile.often else 0
        return self._rng.choice((0, 0, 1, 1, _OFTEN))

    def begin(self) -> None:
        """Set the scene: files, datasets, programs."""
        self._world.host.install()
        for node in self._world.nodes:
            for path in PATHS[:-1]:
                node.files.write(path, self._rng.choice(LINES))
        for _ in range(self._rng.randint(1, 5)):
            self._users.create()
        if self._rng.random() < self._profile.large:
            self._users.create_large()
        if self._rng.random() < self._profile.many:
            self._users.have_many()
        if self._task_users is not None:
            self._task_users.begin()
        self._judge.look(since_ever=True)
        self._leftovers()
        if self._rng.random() < 0.5:
            self._change_weather()
        machines = [self._world.cloud, *self._world.nodes]
        self._rng.shuffle(machines)
        for machine in machines:
            self._later(3.0, partial(self._world.start, machine))

    async def storm(self, actions: int) -> None:
        """Let that many things happen."""
        weights = [weight for weight, _ in self._actions]
        if self._rng.random() < 0.5:
            await asyncio.sleep(self._rng.uniform(0, 20))
        for _ in range(actions):
            [(_, action)] = self._rng.choices(self._actions, weights)
            action()
            self._judge.look()
            if self._world.failures:
                return
            await asyncio.sleep(self._rng.choice((0.0, 0.05, 0.05, 1.0, 10.0)) * self._rng.random())

    def end(self) -> None:
        """End all faults: everything runs, once, and everybody can be reached."""
        world = self._world
        self._is_over = True
        world.trace.say("faults", "end")
        world.network.calm()
        world.host.calm()
        for twin in self._twins:
            world.kill(twin)
        for machine in (world.cloud, *world.nodes):
            if machine.process is not None:
                machine.process.dies_at = None
                machine.process.resume()
            world.start(machine)

    # What goes wrong with programs

    def _kill_node(self) -> None:
        node = self._a_node()
        if not node.is_up:
            return
        self._world.kill(node)
        fate = self._rng.choice(("kept", "kept", "kept", "lost", "restored"))
        if fate == "lost":
            node.disk = self._world.new_folder()
        elif fate == "restored" and node.backup is not None:
            node.disk = self._world.copy(node.backup)
        if fate == "kept":
            node.backup = self._world.copy(node.disk)
        self._world.trace.say(node.name, "disk", fate=fate)
        self._later(_FAULT_SECONDS, lambda: self._world.start(node))

    def _kill_cloud(self) -> None:
        self._world.kill(self._world.cloud)
        self._later(_FAULT_SECONDS, lambda: self._world.start(self._world.cloud))

    def _doom(self) -> None:
        """Let a program die before one of its next steps."""
        machine = self._a_machine()
        if machine.process is not None and machine.is_up:
            machine.process.dies_at = machine.process.steps + self._rng.randint(1, 300)
            self._world.trace.say(machine.name, "will die", step=machine.process.dies_at)
            self._later(_FAULT_SECONDS, lambda: self._world.start(machine))
            self._world.later(_FAULT_SECONDS, lambda: self._world.start(machine))

    def _stop(self) -> None:
        machine = self._a_machine()
        process = machine.process
        if process is not None and machine.is_up and not process.stopped:
            self._world.trace.say(machine.name, "is stopped")
            process.stop()
            self._until(process.resume)

    def _depose(self) -> None:
        """Stop the cloud, start another one, and let the old one go on for some time, not knowing."""
        old = replace(self._world.cloud)
        process = old.process
        if process is None or not old.is_up or process.stopped:
            return
        self._world.trace.say(old.name, "is deposed")
        process.stop()
        self._twins.append(old)
        self._world.cloud.client_id = f"neptune-cloud-{len(self._twins)}"
        self._world.cloud.process = None
        self._world.start(self._world.cloud)

        def resume() -> None:
            if not self._world.is_elected:
                # It goes above its successor's epoch. Before that, what it had said is of a lower one.
                self._judge.may_go_back()
            process.resume()

        self._until(resume)

    def _twin(self) -> None:
        """Start another agent of the same name, on a disk of its own, for some time."""
        node = self._a_node()
        client_id = self._rng.choice((node.client_id, f"{node.client_id}-2"))
        twin = replace(node, client_id=client_id, process=None, disk=self._world.new_folder(), backup=None)
        self._world.trace.say(node.name, "has a twin", client_id=client_id)
        self._twins.append(twin)
        self._world.start(twin)
        self._until(lambda: self._world.kill(twin))

    def _jump(self) -> None:
        machine = self._a_machine()
        machine.clock.skew = timedelta(days=self._rng.choice((-60 * 365, -1, 0, 1, 10 * 365)))
        self._world.trace.say(machine.name, "clock jumps", skew=machine.clock.skew)

    # What goes wrong between them

    def _cut(self) -> None:
        self._world.trace.say("faults", "cut")
        self._world.network.cut(self._a_machine().client_id)

    def _partition(self) -> None:
        client_id = self._a_machine().client_id
        self._world.trace.say("faults", "partition", client=client_id)
        self._world.network.partition(client_id, noticed_after=self._rng.choice((0.0, 10.0, 90.0)))
        self._until(lambda: self._world.network.reunite(client_id))

    def _restart_broker(self) -> None:
        self._world.trace.say("faults", "broker restarts")
        self._world.network.stop()
        self._until(self._world.network.start)

    def _change_weather(self) -> None:
        share = self._rng.choice((0.1, 0.4, 0.7))
        loss = self._rng.choice((0.0, 0.1, 0.5)) if self._lossy else 0.0
        seconds = self._rng.choice((0.5, 5.0, 30.0))
        self._world.network.weather = Weather(
            loss, twice=self._rng.choice((0.0, share)), late=share, late_seconds=seconds
        )
        self._world.trace.say("faults", "weather", weather=self._world.network.weather)

    def _deny(self) -> None:
        client_id, action = self._a_machine().client_id, self._rng.choice((Action.READ, Action.WRITE))
        self._world.trace.say("faults", "deny", client=client_id, action=action.value)
        self._world.network.deny(client_id, action)

    def _trouble(self) -> None:
        shares = [self._rng.choice((0.0, 0.1, 0.3)) for _ in range(4)]
        self._world.host.trouble = Trouble(shares[0], shares[1], shares[2], conflicts=shares[3])
        self._world.trace.say("faults", "API trouble", shares=shares)
        self._until(lambda: setattr(self._world.host, "trouble", Trouble()))

    def _api_away(self) -> None:
        self._world.trace.say("faults", "API server away")
        self._world.host.is_away = True
        self._world.host.cut()
        self._until(lambda: setattr(self._world.host, "is_away", False))

    def _break_watches(self) -> None:
        self._world.trace.say("faults", "watches break")
        if self._rng.random() < 0.5:
            self._world.host.compact()
        self._world.host.cut()

    def _silence_watches(self) -> None:
        self._world.trace.say("faults", "watches fall silent")
        self._world.host.silence()

    def _restore(self) -> None:
        """Restore, some time later, the state of now. Once: who restores twice in a row is not noticed by a watcher."""
        if self._has_backup:
            return
        self._has_backup = True
        backup, bump = self._world.host.back_up(), self._rng.random() < 0.3

        def restore() -> None:
            if not self._is_over:
                self._world.trace.say("faults", "etcd restored", revision=backup.revision, bump=bump)
                self._world.host.restore(backup, bump=bump)
                self._judge.restored()

        self._until(restore)

    # What others say on the broker

    def _forge(self) -> None:
        """Let a node report for an object of the other one, and for tasks that it takes no part in."""
        victim, liar = self._rng.sample(self._world.nodes, 2)
        owned = [item for item in self._judge.objects() if item["spec"].get("nodeName") == victim.name]
        reports = tuple(
            StatusReport(item["metadata"]["uid"], 1, item["metadata"]["generation"], FORGED, None, ()) for item in owned
        )
        work = WorkReport(FORGED_REPORT, "Completed", "2030-01-01T00:00:00Z")
        reports += tuple(
            StatusReport(item["metadata"]["uid"], 1, item["metadata"]["generation"], None, None, (), None, work)
            for item in self._judge.tasks.strange_to(liar)
        )
        header = Header("forged", 0, node_epoch=2**50)
        topic = self._topics.node(liar.name, Verb.STATUS_UPDATE)
        self._world.trace.say(liar.name, "lies")
        self._world.network.inject(Publication(topic, codec.encode(header, StatusUpdate(reports))))

    def _junk(self) -> None:
        topic = self._topics.node(self._a_node().name, self._rng.choice(list(Verb)))
        payload = self._rng.choice((b"", b"{", b"[" * 100, b"\0", b'{"v":99,"type":"sync.get"}', b'{"v":1,"type":[]}'))
        self._world.trace.say("stranger", "junk", topic=topic, payload=payload)
        self._world.network.inject(Publication(topic, payload, retain=self._rng.random() < 0.5))

    def _leftovers(self) -> None:
        """Leave what an earlier installation may have left retained."""
        if self._rng.random() < 0.2:
            header = Header("left over", 0, cloud_epoch=self._rng.choice((1, 2**50)))
            payload = codec.encode(header, messages.CloudPresence(self._rng.random() < 0.5))
            self._world.network.inject(Publication(self._topics.cloud(), payload, retain=True))

    # Words

    def _a_node(self) -> Node:
        return self._rng.choice(self._world.nodes)

    def _a_machine(self) -> Machine:
        return self._rng.choice([self._world.cloud, self._world.cloud, *self._world.nodes])

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._world.later(self._rng.uniform(0, seconds), action)

    def _until(self, undo: Callable[[], None]) -> None:
        self._later(_FAULT_SECONDS, undo)
