"""What `neptune demo` plays on: embedded servers in this process, the real programs in processes of their own.

Invariant: whatever ends the demo, its processes end with it and its folder is gone.
Neighbours: `demo` is a play, `examples/federated/demo.py` another; `testing.processes` keeps the children from
outliving us.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from neptune.api import Resource, ResourceType, crd_for
from neptune.clock import SystemClock
from neptune.edge.store import stored_uids
from neptune.embedded.apiserver.http import EmbeddedApiServer
from neptune.embedded.apiserver.request import Request
from neptune.embedded.broker import EmbeddedBroker
from neptune.runtime import Client
from neptune.testing.processes import Process

#: How long a program may take to stop when asked to (seconds).
STOP_SECONDS = 5.0
#: The names of columns, and the cells of a row for each object.
Table = tuple[list[str], list[list[str]]]
#: Columns that change by themselves.
_AGES = frozenset({"UPDATED", "UPDATEAGE", "AGE"})
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


class CustomResourceDefinition(Resource):
    """The kind that defines kinds; `spec` is kept as it is."""

    resource = ResourceType(
        "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
    )


@dataclass(slots=True)
class Stage:
    """The servers and the programs."""

    folder: Path
    api: EmbeddedApiServer
    broker: EmbeddedBroker
    client: Client
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def kubeconfig(self) -> Path:
        """The file that reaches the API server."""
        return self.folder / "kubeconfig"

    @property
    def data(self) -> Path:
        """The folder that both nodes may read, as a network drive would be."""
        return self.folder / "data"

    async def install(self, *kinds: type[Resource]) -> None:
        """Let the API server know these kinds."""
        for cls in kinds:
            await self.client.create(CustomResourceDefinition.from_dict(crd_for(cls)))

    def start_cloud(self) -> None:
        """Start `cloud-controller`."""
        self._start("cloud-controller", "cloud_controller", {"kubeconfig": str(self.kubeconfig)})

    def start_node(self, node: str, **settings: str) -> None:
        """Start the `edge-agent` of a node; `settings` are more of its flags."""
        more = {name.replace("_", "-"): value for name, value in settings.items()}
        self._start(
            node, "edge_agent", {"node": node, "root": str(self.data), "state-dir": str(self.folder / node), **more}
        )

    def log(self, name: str) -> Path:
        """Return where the log of a program is."""
        return self.folder / f"{name}.log"

    def last_words(self) -> str:
        """Return the end of each program's log: the folder is gone when the reader looks for it."""
        tails = (self.log(name).read_text().splitlines()[-3:] for name in self.processes)
        return "".join(f"\n  {line}" for tail in tails for line in tail)

    def memory_mb(self, name: str) -> float:
        """Return the resident memory of a program, in MB."""
        status = Path(f"/proc/{self.processes[name].pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) / 1000 for line in status.splitlines() if line.startswith("VmRSS"))

    def datasets_of(self, node: str) -> int:
        """Return how many objects a node keeps on its disk."""
        return len(stored_uids(self.folder / node))

    def table(self, plural: str, namespace: str = "default") -> Table:
        """Return what `kubectl get` would show of a kind: the columns, and a row an object."""
        path = f"/apis/neptune.io/v1alpha1/namespaces/{namespace}/{plural}"
        answer = self.api.server.handle(Request("GET", path, accept=_TABLE), SystemClock().now())
        body: Mapping[str, Any] = getattr(answer, "body", {})
        shown = [index for index, column in enumerate(body["columnDefinitions"]) if not column.get("priority")]
        columns = [body["columnDefinitions"][index]["name"].upper() for index in shown]
        rows = [["" if row["cells"][i] is None else str(row["cells"][i]) for i in shown] for row in body["rows"]]
        return columns, rows

    def _start(self, name: str, module: str, settings: Mapping[str, str]) -> None:
        flags = [word for key, value in settings.items() for word in (f"--{key}", value)]
        argv = [
            sys.executable,
            "-m",
            f"neptune.cli.{module}",
            "--broker",
            self.broker.url,
            "--log-level",
            "debug",
            *flags,
        ]
        # Our own settings are not the programs': the demo runs on defaults.
        environ = {key: value for key, value in os.environ.items() if not key.startswith("NEPTUNE_")}
        self.processes[name] = Process.start(argv, log=self.log(name), env=environ)


class News:
    """Prints the rows of a table that have changed, as `kubectl get --watch` does; ages alone are no news."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        """`widths` are those of the columns, in characters."""
        self._widths = widths
        self._shown: dict[str, list[str]] = {}

    def print(self, table: Table) -> None:
        """Print what has changed since the last call; the names of the columns come first."""
        columns, rows = table
        if not self._shown:
            self._print(columns)
        lasting = {row[0]: [cell for name, cell in zip(columns, row, strict=True) if name not in _AGES] for row in rows}
        for row in rows:
            if self._shown.get(row[0]) != lasting[row[0]]:
                self._print(row)
        for name in self._shown.keys() - lasting.keys():
            print(f"  {name} is gone")
        self._shown = lasting

    def _print(self, cells: list[str]) -> None:
        print("  " + "".join(f"{cell:<{width}}" for cell, width in zip(cells, self._widths, strict=True)).rstrip())


@contextlib.asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """Start the servers in this process; stop everything in reverse in the end."""
    async with contextlib.AsyncExitStack() as stack:
        api, broker = EmbeddedApiServer(), EmbeddedBroker()
        await api.start()
        stack.push_async_callback(api.close)
        await broker.start()
        stack.push_async_callback(broker.close)
        api.write_kubeconfig(folder / "kubeconfig")
        client = Client(folder / "kubeconfig")
        await client.connect()
        stack.push_async_callback(client.close)
        built = Stage(folder, api, broker, client)
        built.data.mkdir()
        try:
            yield built
        finally:
            # In threads: the broker that takes their goodbyes runs in this loop.
            for process in reversed(built.processes.values()):
                await asyncio.to_thread(process.stop, seconds=STOP_SECONDS)
