"""`neptune demo`: the whole way on one machine, with nothing installed but this package.

Each act does what a user would do, says what should come of it, and waits until the API server shows just that; a
number that does not come in time ends the demo with exit code 1 and its name. Neighbours: `stage` is what it plays on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from neptune import log
from neptune.api import (
    Dataset,
    DatasetSpec,
    FederatedTask,
    Model,
    ObjectMeta,
    ResourceKey,
    get_condition,
)
from neptune.cli.main import DONE
from neptune.cli.stage import News, Stage, stage
from neptune.cli.start import FAILED
from neptune.errors import NeptuneError
from neptune.runtime import NotFound

NAMESPACE = "default"
#: How long one number may take (seconds). Idle machines need a tenth of a second; the margin is for busy ones.
PATIENCE_SECONDS = 15.0
_POLL_SECONDS = 0.01
#: Of the columns NAME, NUMBEROFSAMPLES, NODE, READY, REASON, UPDATED, AGE: the longest cell and three spaces.
WIDTHS = (10, 18, 8, 10, 17, 10, 6)


class WrongNumber(NeptuneError):
    """The API server does not show what the files hold."""


def add_parser(commands: Any) -> None:
    """Add `demo` to the subcommands of `neptune`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo", help="run everything on this machine and show that the numbers follow the files"
    )
    parser.add_argument("--keep", action="store_true", help="go on until Ctrl-C, to try kubectl against it")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Play the demo; return the exit code.

    Raises:
        WrongNumber: the API server shows another number than the files hold.
    """
    log.configure(level="error")  # the embedded API server warns of rules in a CRD that it does not evaluate
    return asyncio.run(_main(keep=options.keep))


async def _main(*, keep: bool) -> int:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with tempfile.TemporaryDirectory(prefix="neptune-demo-") as folder:
        async with stage(Path(folder)) as built:
            play = asyncio.create_task(Play(built).play())
            stopped = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait([play, stopped], return_when=asyncio.FIRST_COMPLETED)
                if not play.done():
                    print("\nStopped before the end.", file=sys.stderr)
                    return FAILED
                await play
                if keep:
                    log.configure(level="warning")  # of what the user's own clients do wrong
                    print(f"\nStill running; try it, and end it with Ctrl-C:\n  export KUBECONFIG={built.kubeconfig}")
                    print(f"  kubectl get datasets -w        # and add lines to {built.data}/reviews.txt")
                    print(f"  mosquitto_sub -p {built.broker.port} -v -t '$hw/events/#'")
                    await stopped
            finally:
                for task in (play, stopped):
                    task.cancel()
                await asyncio.gather(play, stopped, return_exceptions=True)
    return DONE


class Play:
    """The acts, in order."""

    def __init__(self, built: Stage, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._stage = built
        self._patience = patience_seconds
        self._latencies: list[float] = []
        self._news = News(WIDTHS)

    async def play(self) -> None:
        """Play all acts.

        Raises:
            WrongNumber: the API server shows another number than the files hold.
        """
        await self._open()
        await self._create()
        await self._append()
        await self._edit()
        await self._move()
        await self._crash()
        await self._delete()
        self._sum_up()

    async def _open(self) -> None:
        print("neptune demo: two nodes, one cloud controller, an API server and a broker, all on this machine.")
        await self._stage.install(Dataset, FederatedTask, Model)
        self._stage.start_cloud()
        self._stage.start_node("edge0")
        self._stage.start_node("edge1")

    async def _create(self) -> None:
        # 10,000 samples with a blank line after every tenth: a blank line is no sample.
        reviews = "".join(f"review {n}\n" + ("\n" if n % 10 == 0 else "") for n in range(10_000))
        self._write("reviews.txt", reviews)
        self._write("logs.txt", "first line\r\nsecond line\r\nlast line, without an ending")
        self._write("empty.txt", "")
        self._say("create three datasets: 10000 samples and 1000 blank lines, 3 samples, and an empty file")
        for name, node in (("reviews", "edge0"), ("logs", "edge1"), ("empty", "edge1")):
            await self._apply(name, node)
        await self.expect({"reviews": 10_000, "logs": 3, "empty": 0})

    async def _append(self) -> None:
        self._say("append 500 lines to reviews.txt")
        with (self._stage.data / "reviews.txt").open("a") as file:
            file.writelines(f"another {n}\n" for n in range(500))
        await self.expect({"reviews": 10_500})

    async def _edit(self) -> None:
        self._write("other.txt", "a\nb\nc\nd\n")
        self._say("edit spec.url of logs: another file, 4 samples")
        dataset = await self._get("logs")
        dataset.spec.url = str(self._stage.data / "other.txt")
        await self._stage.client.patch(dataset)
        await self.expect({"logs": 4})

    async def _move(self) -> None:
        self._say("move reviews from edge0 to edge1: edge1 counts it, edge0 drops it")
        dataset = await self._get("reviews")
        dataset.spec.node_name = "edge1"
        await self._stage.client.patch(dataset)
        await self.expect({"reviews": 10_500})
        await self._expect_on_node("edge0", 0)
        await self._expect_on_node("edge1", 3)

    async def _crash(self) -> None:
        self._say("kill -9 the agent of edge1, append 7 lines meanwhile, start it again: it catches up")
        self._stage.processes["edge1"].kill()
        with (self._stage.data / "reviews.txt").open("a") as file:
            file.writelines(f"while away {n}\n" for n in range(7))
        self._stage.start_node("edge1")
        await self.expect({"reviews": 10_507})

    async def _delete(self) -> None:
        self._say("delete logs: it is gone, and edge1 forgets it")
        await self._stage.client.delete(Dataset, ResourceKey(NAMESPACE, "logs"))
        await self._until(self._is_there)
        await self._expect_on_node("edge1", 2)

    def _sum_up(self) -> None:
        slowest = max(self._latencies)
        memory = ", ".join(f"{name} {self._stage.memory_mb(name):.0f} MB" for name in self._stage.processes)
        print(f"\nEvery number was right. Slowest: {slowest * 1000:.0f} ms. Memory: {memory}.")

    def _say(self, text: str) -> None:
        print(f"\n# {text}")

    def _write(self, name: str, content: str) -> None:
        path = self._stage.data / name
        part = path.with_suffix(".part")
        part.write_text(content, newline="")
        part.replace(path)

    async def _apply(self, name: str, node: str) -> None:
        spec = DatasetSpec(url=str(self._stage.data / f"{name}.txt"), format="txt", node_name=node)
        await self._stage.client.create(Dataset(metadata=ObjectMeta(name=name, namespace=NAMESPACE), spec=spec))

    async def _get(self, name: str) -> Dataset:
        return await self._stage.client.get(Dataset, ResourceKey(NAMESPACE, name))

    async def expect(self, numbers: dict[str, int]) -> None:
        """Wait until the API server shows these numbers.

        Raises:
            WrongNumber: it does not in time; the text says which and why.
        """
        began = time.monotonic()
        for name, number in numbers.items():
            await self._until_number(name, number)
        took = time.monotonic() - began
        self._latencies.append(took)
        print(f"  right after {took * 1000:.0f} ms")

    async def _until_number(self, name: str, number: int) -> None:
        async def shows() -> str:
            dataset = await self._get(name)
            ready = get_condition(dataset.status.conditions, "Ready")
            found = dataset.status.number_of_samples
            is_current = dataset.status.observed_generation == dataset.metadata.generation
            if found == number and is_current and ready is not None and ready.status == "True":
                return ""
            why = f"{ready.reason}: {ready.message}" if ready is not None else "no condition yet"
            return f"dataset {name} shows {found} samples instead of {number} ({why})"

        await self._until(shows)

    async def _is_there(self) -> str:
        with contextlib.suppress(NotFound):
            await self._get("logs")
            return "dataset logs is still there"
        return ""

    async def _expect_on_node(self, node: str, number: int) -> None:
        async def keeps() -> str:
            found = self._stage.datasets_of(node)
            return "" if found == number else f"node {node} keeps {found} datasets instead of {number}"

        await self._until(keeps)

    async def _until(self, trouble: Callable[[], Awaitable[str]]) -> None:
        deadline = time.monotonic() + self._patience
        while text := await trouble():
            self._news.print(self._stage.table("datasets", NAMESPACE))
            if time.monotonic() > deadline:
                raise WrongNumber(f"{text}; not right after {self._patience:g} s{self._stage.last_words()}")
            await asyncio.sleep(_POLL_SECONDS)
        self._news.print(self._stage.table("datasets", NAMESPACE))
