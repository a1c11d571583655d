"""The programs that are measured, and one of them as it runs.

A contestant is a process that finds the API server by KUBECONFIG and ends on SIGTERM; nothing else is asked of it, so
that one in any language can join. `make bench` builds those of other languages where their compilers are installed.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.rows import Row

HERE = Path(__file__).parent
PEERS = HERE.parent / ".cache" / "peers"
_STOP_SECONDS = 30
_POLL_SECONDS = 0.005
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program, and what is needed to have it."""

    name: str
    argv: tuple[str, ...]
    needs: str = ""

    @property
    def missing(self) -> Row | None:
        """The row that says why it cannot run here, or None."""
        if Path(self.argv[0]).exists():
            return None
        return {"contestant": self.name, "missing": f"{self.needs}: install it and run `make bench` again"}


def python(name: str, script: str) -> Contestant:
    """Return a contestant that is a script of this folder."""
    return Contestant(name, (sys.executable, str(HERE / script)))


def controller_runtime(*flags: str, name: str = "controller-runtime") -> Contestant:
    """Return the peer in Go with these flags."""
    return Contestant(name, (str(PEERS / "controller-runtime"), *flags), "the Go compiler")


def of_the_storm() -> list[Contestant]:
    """Return all that have the trivial reconciler."""
    kopf = (str(PEERS / "bin" / "kopf"), "run", "--all-namespaces", "-q", str(HERE / "storm_kopf.py"))
    return [
        python("neptune", "storm_neptune.py"),
        controller_runtime(),
        Contestant("kube-rs", (str(PEERS / "kube-rs" / "release" / "kube-rs"),), "cargo"),
        Contestant("kopf", kopf, "kopf"),
        python("official client", "storm_official.py"),
    ]


def chosen(contestants: Sequence[Contestant], only: str) -> list[Contestant]:
    """Return those whose names `only` lists, with commas between; all when it is empty.

    Raises:
        SystemExit: there is no such contestant.
    """
    names = [name.strip() for name in only.split(",") if name.strip()]
    known = {each.name for each in contestants}
    if unknown := set(names) - known:
        raise SystemExit(f"no contestant {', '.join(sorted(unknown))}: there are {', '.join(sorted(known))}")
    return [each for each in contestants if not names or each.name in names]


class Running:
    """The process of a contestant, from `with` to its end. What it writes goes to a file in `folder`."""

    def __init__(self, contestant: Contestant, kubeconfig: Path, folder: Path) -> None:
        self._contestant = contestant
        self._kubeconfig = kubeconfig
        self._log = folder / f"{contestant.name}.log"

    def __enter__(self) -> Self:
        # Byte code is written and used as on any machine that this library is installed on.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with self._log.open("wb") as output:
            self.began = time.monotonic()
            self._process = subprocess.Popen(
                self._contestant.argv,
                env={**environment, "KUBECONFIG": str(self._kubeconfig)},
                stdout=output,
                stderr=output,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(_STOP_SECONDS)

    @property
    def cpu_seconds(self) -> float:
        """User and system time since its start, to a hundredth."""
        stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS

    def memory_bytes(self, field: str = "VmHWM") -> int:
        """Return the peak resident memory, or the present one (`VmRSS`)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))

    async def has_said(self, word: str, seconds: float = 300) -> None:
        """Wait until it has written a line that is this word."""
        await self.until(lambda: word in self._log.read_text(errors="replace").splitlines(), f"say {word!r}", seconds)

    async def until(self, holds: Callable[[], bool], what: str, seconds: float = 300) -> None:
        """Wait until something holds.

        Raises:
            SystemExit: the contestant ended, or it took too long; with the end of what it wrote.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"{self._contestant.name} did not {what}:\n{self._log.read_text(errors='replace')[-2000:]}"
                )
            await asyncio.sleep(_POLL_SECONDS)
