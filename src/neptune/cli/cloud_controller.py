"""`cloud-controller`: beside a Kubernetes API, tells nodes what to count and writes what they counted."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import sys

from neptune import __version__, log
from neptune.cli import broker, edge_settings
from neptune.cli.main import Run, run_program
from neptune.cli.settings import BROKER, LOGGING, Program, Setting, Values, whole, yes_or_no
from neptune.clock import SystemClock
from neptune.protocol.topics import is_node_name

#: Reconciles of each kind that run at a time: what one API server answers without queueing.
DEFAULT_WORKERS = 8
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _namespace(value: str) -> str:
    """Take a name of a namespace (a DNS label, RFC 1123)."""
    if not _LABEL.fullmatch(value):
        raise ValueError("is no name of a namespace: lower-case letters, digits and '-', 63 at most")
    return value


def _lease(value: str) -> str:
    """Take `[NAMESPACE/]NAME`, the name being a DNS subdomain as that of a node."""
    namespace, slash, name = value.rpartition("/")
    if (slash and not _LABEL.fullmatch(namespace)) or not is_node_name(name):
        raise ValueError("is not [NAMESPACE/]NAME, as Kubernetes names namespaces and Leases")
    return value


SETTINGS = (
    *BROKER,
    Setting("client-id", "this controller's name at the broker (default: neptune-cloud-HOSTNAME and a random end)"),
    Setting("kubeconfig", "how to reach the API server (default: as kubectl, or as a pod)", metavar="FILE"),
    Setting("context", "the context in that file (default: its current one)"),
    Setting("namespace", "serve the objects of one namespace (default: of all)", None, _namespace),
    Setting("listen", "HOST:PORT of /livez, /readyz and /metrics (default: none)", metavar="ADDRESS"),
    Setting("workers", "reconciles that run at a time, in each direction", DEFAULT_WORKERS, whole(1, 1000), "N"),
    Setting("leader-elect", "of several controllers let one work, the others stand by", False, yes_or_no, "BOOL"),
    Setting("lease", "[NAMESPACE/]NAME of the Lease that they compete for; the namespace of the pod by default",
            "neptune-cloud-controller", _lease, "LEASE"),
    Setting("lease-seconds", "how long a leader that died goes unnoticed", 15, whole(5, 3600), "SECONDS"),
    *LOGGING,
)  # fmt: skip
PROGRAM = Program(
    "cloud-controller",
    "Keeps Datasets, Models and FederatedTasks in step with edge nodes over MQTT.",
    __version__,
    SETTINGS,
    epilog="Each flag is also a variable (--log-level: NEPTUNE_LOG_LEVEL) and a key in the TOML file.",
    also_known=edge_settings.SETTINGS,
    extra="cloud",
)


def main() -> None:
    """Run the program and end the process."""
    sys.exit(run_program(PROGRAM, _serve, runner=_runner))


# Imports in functions, so that a node's installation, which lacks what they import, gets one line that says so.


def _runner() -> Run:
    from neptune.runtime.loop import run  # noqa: PLC0415

    return run


async def _serve(values: Values, stop: asyncio.Event) -> None:
    from neptune.controllers.app import CloudController  # noqa: PLC0415
    from neptune.controllers.tasks import FederatedTasks  # noqa: PLC0415
    from neptune.runtime import Client, LeaderElection  # noqa: PLC0415

    # A broker ends the connection of an earlier client of the same id: two processes that shared one would fight.
    client_id = values["client-id"] or f"neptune-cloud-{socket.gethostname()}-{secrets.token_hex(4)}"
    election = None
    if values["leader-elect"]:
        namespace, _, name = values["lease"].rpartition("/")
        lasts = values["lease-seconds"]
        # In the proportions of Kubernetes' own parts: 15, 10 and 2 seconds.
        election = LeaderElection(name, namespace, lasts, renew_seconds=lasts * 2 / 3, retry_seconds=lasts * 2 / 15)
    transport = broker.transport(values, client_id)
    client = Client(values["kubeconfig"], context=values["context"])
    controller = CloudController(
        client,
        transport,
        SystemClock(),
        topic_prefix=values["topic-prefix"],
        namespace=values["namespace"] or "",
        workers=values["workers"],
        listen=values["listen"] or "",
        task_kinds=[FederatedTasks()],
        leader_election=election,
    )
    # Before nodes hear of a cloud that could not serve them.
    await client.connect()
    log.get_logger().info("starting", version=__version__, **values.for_log())
    try:
        await controller.serve(stop)
    finally:
        await client.close()


if __name__ == "__main__":
    main()
