"""`edge-agent`: on a node, counts the samples of its datasets and reports them to the cloud."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

from neptune import __version__, log
from neptune.cli import broker
from neptune.cli.edge_settings import SETTINGS
from neptune.cli.main import run_program
from neptune.cli.settings import Program, Values
from neptune.edge.agent import Agent, AgentSettings

PROGRAM = Program(
    "edge-agent",
    "Counts the samples of this node's Datasets and reports them over an MQTT broker.",
    __version__,
    SETTINGS,
    epilog="Each flag is also a variable (--state-dir: NEPTUNE_STATE_DIR) and a key in the TOML file.",
)


def main() -> None:
    """Run the program and end the process."""
    sys.exit(run_program(PROGRAM, _serve))


async def _serve(values: Values, stop: asyncio.Event) -> None:
    node = values["node"] or socket.gethostname().lower()
    settings = AgentSettings(
        node=node,
        state_dir=Path(values["state-dir"]),
        roots=values["root"],
        poll_seconds=values["poll-seconds"],
        topic_prefix=values["topic-prefix"],
    )
    # One client id a node: a second agent of the same name takes the connection over, and both say so.
    transport = broker.transport(values, f"neptune-edge-{node}")
    log.get_logger().info("starting", version=__version__, **{**values.for_log(), "node": node})
    if not _has_local_side(values):
        await Agent(settings, transport).run(stop)
        return
    # Here, so that an agent without it does not carry a broker around.
    from neptune.cli import local  # noqa: PLC0415

    async with local.serving(values, transport) as (link, side):
        await Agent(settings, link, local=side).run(stop)


def _has_local_side(values: Values) -> bool:
    asked, mode = str(values["local-topics"]), str(values["broker-mode"])
    return asked == "on" or (asked == "auto" and mode != "external")


if __name__ == "__main__":
    main()
