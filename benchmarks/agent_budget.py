"""The budget of an edge agent: memory, CPU when idle, and time to start, of the real program on a real broker.

The agent starts with its datasets in its state, so that nothing else is on the line. Measured once it has counted all
of them and is quiet. The last row of a size also counts a file of 1 GB first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.counting import write_text
from benchmarks.rows import print_rows
from neptune.edge.store import Store
from neptune.protocol.desired import Change
from neptune.protocol.messages import DesiredObject
from tests.support.doors import find_mosquitto
from tests.support.mosquitto import Mosquitto

# Without rich, which no node has and which structlog would load.
AGENT = "import sys; sys.modules['rich'] = None; from neptune.cli.edge_agent import main; main()"
NODE = "edge0"
BUDGET_MB = {100: 35, 500: 40, 1000: 60, 5000: 60}


class Agent:
    """A running `edge-agent`."""

    def __init__(self, folder: Path, port: int) -> None:
        self._log = folder / "log"
        flags = {
            "node": NODE,
            "broker": f"mqtt://127.0.0.1:{port}",
            "state-dir": folder / "state",
            "root": folder / "data",
        }
        argv = [
            sys.executable,
            "-c",
            AGENT,
            *(text for name, value in flags.items() for text in (f"--{name}", str(value))),
        ]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._started = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(argv, stderr=log, env=environ)

    def wait_until_ready(self) -> float:
        """Return how long the agent took to be connected (seconds)."""
        while b"broker connected" not in self._log.read_bytes():
            assert self._process.poll() is None, self._log.read_text()
            time.sleep(0.005)
        return time.monotonic() - self._started

    def wait_until_quiet(self) -> None:
        """Return when it has used no CPU to speak of for three seconds, and has no counting process."""
        used = self.cpu_seconds()
        for _ in range(200):
            time.sleep(3.0)
            before, used = used, self.cpu_seconds()
            if used - before < 0.03 and not self._children():
                return
        raise SystemExit("the agent does not come to rest")

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/schedstat").read_text().split()
        threads = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9 if fields else 0.0

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(20) == 0, self._log.read_text()

    def _children(self) -> list[str]:
        return Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()


def fill(folder: Path, number: int, *, large: bool) -> None:
    """Put datasets into the state of an agent, each with a file."""
    (folder / "data").mkdir()
    items = []
    for index in range(number):
        path = folder / "data" / f"{index}.txt"
        path.write_bytes(b"a line of text\n" * 100)
        items.append(_dataset(f"u{index}", path))
    if large:
        write_text(folder / "data" / "large.txt", 10**9)
        items.append(_dataset("large", folder / "data" / "large.txt"))
    with Store(folder / "state") as store:
        store.load()
        store.save(Change(stored=tuple(items)))


def _dataset(uid: str, path: Path) -> DesiredObject:
    spec = {"url": str(path), "format": "txt", "nodeName": NODE}
    return DesiredObject("Dataset", "default", f"name-of-{uid}", uid, 1, spec)


@contextlib.contextmanager
def broker() -> Iterator[Mosquitto]:
    executable = find_mosquitto(os.environ)
    if executable is None:
        raise SystemExit("no mosquitto: install it (on Debian: apt-get install mosquitto)")
    with tempfile.TemporaryDirectory(prefix="neptune-bench-") as folder, Mosquitto(executable, Path(folder)) as running:
        yield running


def measure(port: int, number: int, idle_seconds: float, *, large: bool) -> dict[str, object]:
    """Return the row of an agent with so many datasets."""
    with tempfile.TemporaryDirectory(prefix="neptune-bench-") as name:
        fill(Path(name), number, large=large)
        agent = Agent(Path(name), port)
        ready = agent.wait_until_ready()
        agent.wait_until_quiet()
        before, since = agent.cpu_seconds(), time.monotonic()
        time.sleep(idle_seconds)
        percent = 100 * (agent.cpu_seconds() - before) / (time.monotonic() - since)
        resident = agent.resident_mb()
        agent.stop()
    row = {"contestant": f"{number} datasets{' and 1 GB' if large else ''}", "resident_mb": round(resident, 1)}
    return {
        **row,
        "budget_mb": BUDGET_MB.get(number),
        "idle_cpu_percent": round(percent, 3),
        "ready_seconds": round(ready, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle-seconds", type=float, default=30.0)
    parser.add_argument("--datasets", type=int, nargs="*", default=[100, 500, 1000, 5000])
    given = parser.parse_args()
    with broker() as running:
        rows = [measure(running.port, number, given.idle_seconds, large=False) for number in given.datasets]
        rows.append(measure(running.port, given.datasets[0], given.idle_seconds, large=True))
    print_rows("agent budget", rows, ["resident_mb"], to=[str(rows[0]["contestant"])])
    print(json.dumps({"benchmark": "agent budget", "idle_seconds": given.idle_seconds}))


if __name__ == "__main__":
    main()
