"""`edge-agent`: on a node, counts the samples of its datasets and reports them to the cloud.

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
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from neptune import __version__, log
from neptune.cli import broker, status
from neptune.cli.edge_settings import SETTINGS
from neptune.cli.main import configure_log, run_program
from neptune.cli.notify import ServiceManager
from neptune.cli.settings import Program, Values
from neptune.edge.agent import Agent, AgentSettings
from neptune.errors import SettingsError

PROGRAM = Program(
    "edge-agent",
    "Counts the samples of this node's Datasets and reports them over an MQTT broker.",
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
        agent: Agent | None = _agent(values)
        while agent is not None:
            log.get_logger().info("starting", version=__version__, **{**values.for_log(), "node": _node(values)})
            values, agent = await _run(agent, values, manager, stop, reload)
    finally:
        watchdog.cancel()
        signal.alarm(0)


async def _run(
    agent: Agent, values: Values, manager: ServiceManager, stop: asyncio.Event, reload: asyncio.Event
) -> tuple[Values, Agent | None]:
    """Run an agent until it is told to stop or to reload; return its successor, if it has one."""
    end, successor = asyncio.Event(), None
    work = asyncio.create_task(agent.run(end), name="agent")
    try:
        await _first_of(work, agent.started)
        # Only now, when the agent has the state directory to itself: another agent's socket would be taken away.
        if not work.done():
            async with status.status_socket(Path(values["state-dir"]), partial(_tell, agent, values)):
                manager.ready(f"node {_node(values)}, broker {values['broker']}")
                while successor is None and not (work.done() or stop.is_set()):
                    await _first_of(work, stop, reload)
                    if reload.is_set():
                        reload.clear()
                        values, successor = _reloaded(values, manager)
    finally:
        if successor is None:
            manager.stopping()
            # By the kernel's clock, which goes on when a disk holds up this process; the signal ends it.
            signal.alarm(STOP_SECONDS)
        end.set()
        await work
    return values, successor


async def _first_of(work: asyncio.Task[None], *events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait([work, *waits], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _reloaded(values: Values, manager: ServiceManager) -> tuple[Values, Agent | None]:
    """Return the settings as they are now and an agent that has them; the old ones and None when they make none."""
    manager.reloading()
    try:
        fresh, _ = PROGRAM.load(sys.argv[1:], os.environ)
        _refuse_change(values, fresh)
        agent = _agent(fresh)
    except SettingsError as error:
        log.get_logger().error("reload refused", reason=str(error))  # no fault of ours to trace
        manager.ready(f"reload refused: {error}")
        return values, None
    configure_log(fresh)
    return fresh, agent


def _refuse_change(before: Values, now: Values) -> None:
    for name in _LASTING:
        if now[name] != before[name]:
            raise SettingsError(f"{name} cannot change while the agent runs: restart it")


def _agent(values: Values) -> Agent:
    node = _node(values)
    settings = AgentSettings(
        node=node,
        state_dir=Path(values["state-dir"]),
        roots=values["root"],
        poll_seconds=values["poll-seconds"],
        url_seconds=values["url-seconds"],
        topic_prefix=values["topic-prefix"],
    )
    # One client id a node: a second agent of the same name takes the connection over, and both say so.
    return Agent(settings, broker.transport(values, f"neptune-edge-{node}"))


def _node(values: Values) -> str:
    return str(values["node"] or socket.gethostname().lower())


def _tell(agent: Agent, values: Values) -> Mapping[str, Any]:
    own = {"version": __version__, "pid": os.getpid(), "broker": values["broker"]}
    return own | agent.snapshot().to_json()


if __name__ == "__main__":
    main()
