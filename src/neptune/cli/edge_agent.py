"""`edge-agent`: on a node, counts the samples of its datasets, hands its tasks to workers, and reports to the cloud.

SIGTERM stops it. SIGHUP reads the settings anew: the agent inside is stopped and another one started, which has the
numbers from the disk, counts nothing that did not change, and connects with the certificates as they are now.
`edge-agent status` asks a running one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from neptune import __version__, log
from neptune.cli import broker, status
from neptune.cli.edge_settings import SETTINGS
from neptune.cli.main import configure_log, run_program
from neptune.cli.notify import ServiceManager
from neptune.cli.settings import Program, Values
from neptune.edge.agent import Agent, AgentSettings
from neptune.edge.tasks.command import TaskCommand
from neptune.errors import SettingsError
from neptune.transport import Transport

PROGRAM = Program(
    "edge-agent",
    "Counts the samples of this node's Datasets, hands its tasks to workers, and reports both over an MQTT broker.",
    __version__,
    SETTINGS,
    epilog="Each flag is also a variable (--state-dir: NEPTUNE_STATE_DIR) and a key in the TOML file. "
    "SIGHUP reads them anew. `edge-agent status` shows what a running agent does.",
)
#: How long the agent may take to stop (seconds): three for the goodbye to the broker, and some for a slow disk.
STOP_SECONDS = 10
#: Settings that SIGHUP does not change: with another one it would be another agent.
_LASTING = ("node", "state-dir")


def main() -> None:
    """Run the program and end the process."""
    if sys.argv[1:2] == ["status"]:
        sys.exit(status.main(sys.argv[2:]))
    sys.exit(run_program(PROGRAM, _serve))


async def _serve(values: Values, stop: asyncio.Event) -> None:
    manager, reload = ServiceManager(os.environ), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    watchdog = asyncio.create_task(manager.feed_watchdog(), name="watchdog")
    try:
        plan: _Plan | None = _plan(values)
        while plan is not None:
            shown = {**plan.values.for_log(), "node": plan.settings.node}
            log.get_logger().info("starting", version=__version__, **shown)
            async with _agent(plan) as agent:
                plan = await _run(agent, plan, manager, stop, reload)
    finally:
        watchdog.cancel()
        signal.alarm(0)


class _Plan(NamedTuple):
    """What an agent is made of: settings that were found to make sense."""

    values: Values
    settings: AgentSettings
    transport: Transport


async def _run(
    agent: Agent, plan: _Plan, manager: ServiceManager, stop: asyncio.Event, reload: asyncio.Event
) -> _Plan | None:
    """Run an agent until it is told to stop or to reload; return the plan of its successor, if it has one."""
    end, successor = asyncio.Event(), None
    values, node = plan.values, plan.settings.node
    work = asyncio.create_task(agent.run(end), name="agent")
    try:
        await _first_of(work, agent.started)
        # Only now, when the agent has the state directory to itself: another agent's socket would be taken away.
        if not work.done():
            async with status.status_socket(Path(values["state-dir"]), partial(_tell, agent, values)):
                manager.ready(f"node {node}, broker {values['broker']}")
                while successor is None and not (work.done() or stop.is_set()):
                    await _first_of(work, stop, reload)
                    if reload.is_set():
                        reload.clear()
                        successor = _reloaded(values, manager)
    finally:
        if successor is None:
            manager.stopping()
            # By the kernel's clock, which goes on when a disk holds up this process; the signal ends it.
            signal.alarm(STOP_SECONDS)
        end.set()
        await work
    return successor


async def _first_of(work: asyncio.Task[None], *events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait([work, *waits], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _reloaded(values: Values, manager: ServiceManager) -> _Plan | None:
    """Return a plan of the settings as they are now; None when they make none."""
    manager.reloading()
    try:
        fresh, _ = PROGRAM.load(sys.argv[1:], os.environ)
        _refuse_change(values, fresh)
        plan = _plan(fresh)
    except SettingsError as error:
        log.get_logger().error("reload refused", reason=str(error))  # no fault of ours to trace
        manager.ready(f"reload refused: {error}")
        return None
    configure_log(fresh)
    return plan


def _refuse_change(before: Values, now: Values) -> None:
    for name in _LASTING:
        if now[name] != before[name]:
            raise SettingsError(f"{name} cannot change while the agent runs: restart it")


def _plan(values: Values) -> _Plan:
    node = str(values["node"] or socket.gethostname().lower())
    settings = AgentSettings(
        node=node,
        state_dir=Path(values["state-dir"]),
        roots=values["root"],
        poll_seconds=values["poll-seconds"],
        url_seconds=values["url-seconds"],
        topic_prefix=values["topic-prefix"],
        task_command=_task_command(values),
    )
    # One client id a node: a second agent of the same name takes the connection over, and both say so.
    return _Plan(values, settings, broker.transport(values, f"neptune-edge-{node}"))


def _task_command(values: Values) -> TaskCommand | None:
    line = values["task-command"]
    if line is None:
        return None
    limits = {name: values[f"task-{name.replace('_', '-')}"] for name in ("memory_mb", "parallel", "retries")}
    return TaskCommand.of(line, **limits)


@asynccontextmanager
async def _agent(plan: _Plan) -> AsyncIterator[Agent]:
    """Give an agent, with what serves programs on its node where the settings ask for that."""
    values, settings, transport = plan
    if not _has_local_side(values):
        yield Agent(settings, transport)
        return
    # Here, so that an agent without it does not carry a broker around.
    from neptune.cli import local  # noqa: PLC0415

    async with local.serving(values, transport) as (link, side):
        yield Agent(settings, link, local=side)


def _has_local_side(values: Values) -> bool:
    asked, mode = str(values["local-topics"]), str(values["broker-mode"])
    return asked == "on" or (asked == "auto" and mode != "external")


def _tell(agent: Agent, values: Values) -> Mapping[str, Any]:
    own = {"version": __version__, "pid": os.getpid(), "broker": values["broker"]}
    return own | agent.snapshot().to_json()


if __name__ == "__main__":
    main()
